"""The jobs that tests submit; workers import them from here."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
from jobflow import Flow, Job, JobConfig, Response, job

from tests.support.waiting import wait_until

#: Values that JSON cannot express.
ODD_VALUES: dict[str, Any] = {
    "nan": float("nan"),
    "infinity": [float("inf"), float("-inf")],
    "time": datetime(2024, 5, 1, 1, 2, 3, 456789),  # noqa: DTZ001 - a job may well return such a time
    "time in a zone": datetime(2024, 5, 1, 1, 2, 3, 456789, tzinfo=timezone(timedelta(hours=2))),
    "bytes": b"\x00\xff",
}


@job
def add(a: float, b: float = 1) -> float:
    """Return the sum of two numbers."""
    return a + b


@job
def link(previous: Any = None, ledger: str | None = None, name: str = "link") -> int:
    """Be one link of a chain: return how many links came before, and sign the ledger if there is one."""
    if ledger is not None:
        sign(ledger, name)
    return 0 if previous is None else int(previous) + 1


@job
def variables(names: list[str]) -> dict[str, str | None]:
    """Return environment variables of the job."""
    return {name: os.environ.get(name) for name in names if name in os.environ}


@job
def leaves_processes(directory: str, then: float = 0.0) -> None:
    """Start processes that outlive the job, write their pids to a directory, and go on for some seconds."""
    Path(directory).mkdir()
    sleeps = f"echo $$ >{directory}/%s; exec sleep 1000"
    quiet: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    subprocess.Popen(["sh", "-c", sleeps % "child"], **quiet)
    subprocess.Popen(["sh", "-c", sleeps % "session"], start_new_session=True, **quiet)
    subprocess.run(["sh", "-c", f"setsid sh -c '{sleeps % 'orphan'}' &"], check=True, **quiet)
    while any(not Path(directory, name).exists() for name in ("child", "session", "orphan")):
        time.sleep(0.01)
    time.sleep(then)


@job
def total(values: list[float]) -> float:
    """Return the sum of the outputs of other jobs."""
    return sum(values)


@job
def odd_values() -> dict[str, Any]:
    """Return values that JSON cannot express."""
    return {**ODD_VALUES, "array": np.array([1.0, np.nan])}


@job
def describe(value: Any, *more: Any) -> str:
    """Return the types and the exact values of the input."""
    return repr((value, *more))


@job
def replace_with_description(value: Any) -> Response[Any]:
    """Replace itself with a `describe` of the value, whose input travels in the response."""
    return Response(replace=describe(value))


@job(config=JobConfig(resolve_references="both"))
def describe_reference(value: Any) -> str:
    """Return from where the input comes, and its value."""
    return f"{type(value).__name__} {value.reference.attributes_formatted} {value.value!r}"


@job
def replace_with(values: list[float]) -> Response[Any]:
    """Replace itself with one `add` for each value and a `total` of all of them."""
    parts = [add(value, 0) for value in values]
    last = total([part.output for part in parts])
    return Response(replace=Flow([*parts, last], output=last.output))


@job
def replace_with_large(number: int, size: int) -> Response[Any]:
    """Replace itself with a number of `describe`, each with an input of so many characters."""
    return Response(replace=Flow([describe("x" * size) for _ in range(number)]))


@job
def detour(value: float) -> Response[Any]:
    """Return the value, and let an `add` run before the children of this job."""
    return Response(output=value, detour=Flow([add(value, 10)]))


@job
def addition(value: float) -> Response[Any]:
    """Return the value, and let an `add` run beside the children of this job."""
    return Response(output=value, addition=Flow([add(value, 100)]))


@job
def stops_children(value: float = 0) -> Response[Any]:
    """Return the value and stop the children of this job."""
    return Response(output=value, stop_children=True)


@job
def stops_jobflow(value: float = 0) -> Response[Any]:
    """Return the value and stop the rest of the flow."""
    return Response(output=value, stop_jobflow=True)


@job
def stores_data(value: float = 0) -> Response[Any]:
    """Return the value and leave it in the stored data of the job, too."""
    return Response(output=value, stored_data={"value": value})


@job
def raises(message: str = "this job fails") -> None:
    """Fail as a bug in a job does."""
    raise RuntimeError(message)


@job
def sleeps(seconds: float) -> float:
    """Take some time."""
    time.sleep(seconds)
    return seconds


@job
def waits_for(gate: str, value: float = 0, ledger: str | None = None) -> float:
    """Return the value once a file exists: the test decides when this job ends."""
    if ledger is not None:
        sign(ledger, str(value))
    wait_until(Path(gate).exists, 100, f"the file {gate}")
    return value


@job
def speaks(gate: str, cure: str) -> None:
    """Print a line, wait for a file, print another line, and fail where a second file is missing."""
    print("the first line", flush=True)
    wait_until(Path(gate).exists, 100, f"the file {gate}")
    print("the last line", flush=True)
    if not Path(cure).exists():
        raise RuntimeError("there is no cure")


@job
def needs(path: str) -> int:
    """Return the size of a file; fail where there is none."""
    return Path(path).stat().st_size


@job
def writes_ledger(ledger: str, line: str, seconds: float = 0) -> str:
    """Append one line to a file: the lines tell how often each job ran."""
    sign(ledger, line)
    time.sleep(seconds)
    return line


@job
def returns_megabytes(n: float) -> str:
    """Return a text of `n` million characters."""
    return "x" * int(n * 1_000_000)


@job(data="blob")
def stores_megabytes(n: float) -> dict[str, str]:
    """Return a text of `n` million characters for the additional store named data."""
    return {"blob": "x" * int(n * 1_000_000)}


@job
def kills_itself() -> None:
    """End as the out-of-memory killer ends a job."""
    os.kill(os.getpid(), signal.SIGKILL)


@job
def exits_silently() -> None:
    """End with exit code 0 and without any output."""
    os._exit(0)


def chain(length: int, ledger: Path | str | None = None) -> Flow:
    """Return a flow of `length` links, each the child of the one before."""
    jobs: list[Flow | Job] = []
    for number in range(length):
        previous = jobs[-1].output if jobs else None
        jobs.append(link(previous, None if ledger is None else str(ledger), name=f"link-{number}"))
    return Flow(jobs, output=jobs[-1].output, name="chain")


def ledger_lines(ledger: Path) -> list[str]:
    """Return the lines of a ledger, sorted; none where no job has written yet."""
    return sorted(ledger.read_text().splitlines()) if ledger.exists() else []


def sign(ledger: str, line: str) -> None:
    """Append one line in one write, which concurrent writers cannot tear."""
    with Path(ledger).open("a") as file:
        file.write(f"{line}\n")
