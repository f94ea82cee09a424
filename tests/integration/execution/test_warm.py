"""Warm servers: what they survive, what they learn, and when they give way to a cold start."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from jobflow import Job

from jfr_mp.execution.warm import client
from jfr_mp.execution.warm.control import retire
from tests.contract.test_execution import Execution
from tests.support import probe_jobs
from tests.support.jobs import add
from tests.support.waiting import wait_until

COLD = "cold start"


@pytest.fixture
def execution(tmp_path: Path) -> Iterator[Execution]:
    """Run jobs warm, with servers of this test alone."""
    # The path of a socket is limited to 107 bytes, which the directories of pytest can exceed.
    with tempfile.TemporaryDirectory(prefix="jfr-mp-", dir="/tmp") as directory:
        execution = Execution(tmp_path, Path(directory) / "w")
        yield execution
        for server in servers(execution):
            server.kill()


def servers(execution: Execution) -> list[psutil.Process]:
    """Return the warm servers that listen in the directory of an execution."""
    return [process for process in psutil.process_iter() if _is_server(process, execution)]


def _is_server(process: psutil.Process, execution: Execution) -> bool:
    try:
        words = process.cmdline()
        return (
            "jfr_mp.execution.warm.server" in words
            and any(str(execution.warm_dir) in word for word in words)
            and process.status() != psutil.STATUS_ZOMBIE
            and os.getsid(process.pid) != process.pid
        )
    except (psutil.Error, ProcessLookupError):
        return False


def own_job(execution: Execution, body: str, name: str = "own") -> Job:
    """Return a job whose function is in a module that only the worker has."""
    directory = execution.base / "modules"
    directory.mkdir(exist_ok=True)
    (directory / f"{name}.py").write_text(f"{body}\n")
    path = execution.environment["PYTHONPATH"]
    if str(directory) not in path:
        execution.environment["PYTHONPATH"] = f"{path}:{directory}"
    return add(1)


def run_own(execution: Execution, module: str) -> tuple[Any, str]:
    """Run the function `work` of a module of `own_job`; return its output and what stood on its standard error."""
    job = add(1)
    job.function_args = ()
    run_dir = execution.upload(job)
    path = run_dir / "jfremote_in.json"
    content = (
        path.read_text()
        .replace('"tests.support.jobs"', f'"{module}"')
        .replace('"@callable":"add"', '"@callable":"work"')
    )
    path.write_text(content)
    words = [*execution.words(run_dir)]
    done = subprocess.run(words, env=execution.environment, capture_output=True, text=True, timeout=100, check=True)
    return execution.output(run_dir), done.stderr


def wait_for_lesson(execution: Execution) -> str:
    """Wait until a server has learned what a job imported, or has not; return the line of its log that says so."""
    assert execution.warm_dir is not None
    directory = execution.warm_dir

    def line() -> str | None:
        lines = [line for log in directory.glob("*.log") for line in log.read_text().splitlines()]
        return next((line for line in lines if "learned" in line), None)

    return str(wait_until(line, 60, "the end of a lesson"))


def test_a_job_outlives_its_server(execution: Execution, tmp_path: Path) -> None:
    # Given a job that runs in a child of a server
    ready = tmp_path / "ready"
    _, process = execution.start(probe_jobs.waits(str(ready)))
    wait_until(ready.exists, 60, "the start of the job")
    child = int(ready.read_text().split()[1])

    # When the server is killed, and then what the job waits for ends
    (server,) = servers(execution)
    server.kill()
    server.wait()
    os.kill(child, signal.SIGKILL)

    # Then the job has run to its end, its exit code is known, and the next job gets a new server
    process.communicate(timeout=20)
    assert process.returncode == 0
    _, done = execution.run(add(1, 2))
    assert done.returncode == 0
    assert servers(execution)[0].pid != server.pid


def test_a_job_is_cancelled_although_its_server_is_gone(execution: Execution, tmp_path: Path) -> None:
    # Given a job whose server was killed
    ready = tmp_path / "ready"
    _, process = execution.start(probe_jobs.waits(str(ready)))
    wait_until(ready.exists, 60, "the start of the job")
    pid, child = map(int, ready.read_text().split())
    servers(execution)[0].kill()

    # When the group of the script is killed, too
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=20)

    # Then the kernel ends the job with it, and all that it has started
    wait_until(lambda: not (_lives(pid) or _lives(child)), 20, "the end of the job")


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_server_that_does_not_answer_costs_no_job(execution: Execution) -> None:
    # Given a server that is stopped
    execution.run(add(1, 2))
    wait_for_lesson(execution)
    for server in servers(execution):
        server.suspend()

    # When a job is started, whose output goes to a file: the server would hold the end of a pipe
    with (execution.base / "stderr").open("w") as stderr:
        run_dir, process = execution.start(add(1, 2), stdout=subprocess.DEVNULL, stderr=stderr)
    process.wait(client.ANSWER_TIMEOUT + 60)

    # Then it starts cold, and is not run once more when the server goes on
    assert COLD in (execution.base / "stderr").read_text()
    assert execution.output(run_dir) == 3
    written = (run_dir / "jfremote_out.json").stat().st_mtime_ns
    for server in servers(execution):
        server.resume()
    execution.run(add(1, 2))
    assert (run_dir / "jfremote_out.json").stat().st_mtime_ns == written


def test_what_a_job_imports_is_imported_for_the_next(execution: Execution) -> None:
    # Given jobs whose module takes a second to import
    own_job(execution, "import time\ntime.sleep(1)\nIMPORTED = time.time()\ndef work(): return IMPORTED", "slow")

    # When they run one after the other, then the import is done once for all of them
    def again() -> bool:
        first, second = run_own(execution, "slow")[0], run_own(execution, "slow")[0]
        return bool(first == second)

    wait_until(again, 60, "a server that has learned the module")


@pytest.mark.parametrize(
    "body",
    [
        "import threading, time\nthreading.Thread(target=time.sleep, args=(3000,), daemon=True).start()",
        "import numpy\nGENERATOR = numpy.random.default_rng()",
        "import random\nclass Sampler:\n    generator = random.Random()",
        "FILE = open('/dev/zero')",
        "raise_once = __import__('os').getpid()\nif raise_once % 1: raise ValueError",
    ],
    ids=["thread", "numpy generator", "generator in a class", "open file", "nothing"],
)
def test_what_two_jobs_must_not_share_is_not_learned(execution: Execution, body: str) -> None:
    # Given a module whose import leaves something
    own_job(execution, f"import time\n{body}\nIMPORTED = time.time()\ndef work(): return IMPORTED", "leaves")

    # When a server has tried to learn it from a job
    outputs = [run_own(execution, "leaves")]
    learned = "not learned" not in wait_for_lesson(execution)

    # Then each of the next jobs imports it itself, unless it leaves nothing
    outputs += [run_own(execution, "leaves") for _ in range(2)]
    assert not [stderr for _, stderr in outputs if COLD in stderr]
    assert learned is ("raise_once" in body)
    assert learned or len({output for output, _ in outputs}) == len(outputs)


def test_a_changed_module_is_imported_anew(execution: Execution) -> None:
    # Given a server that has learned a module
    own_job(execution, "def work(): return 1", "changes")
    assert run_own(execution, "changes")[0] == 1
    module = execution.base / "modules" / "changes.py"
    wait_for_lesson(execution)
    run_own(execution, "changes")

    # When the module is changed
    shutil.rmtree(module.parent / "__pycache__", ignore_errors=True)
    module.write_text("def work(): return 22")

    # Then the jobs run the new one, at the latest when the server looks again
    wait_until(lambda: run_own(execution, "changes")[0] == 22, 10, "the new code")


def test_servers_go_when_they_are_told_to(execution: Execution, tmp_path: Path) -> None:
    # Given a server with a job
    ready = tmp_path / "ready"
    _, process = execution.start(probe_jobs.waits(str(ready)))
    wait_until(ready.exists, 60, "the start of the job")
    assert execution.warm_dir is not None
    retire(execution.warm_dir)

    # Then it goes when the job has ended, and not before
    assert len(servers(execution)) == 1
    os.kill(int(ready.read_text().split()[1]), signal.SIGKILL)
    process.communicate(timeout=20)
    assert process.returncode == 0
    wait_until(lambda: not servers(execution), 20, "the end of the server")


def test_a_directory_that_others_can_enter_is_not_used(execution: Execution) -> None:
    assert execution.warm_dir is not None
    execution.warm_dir.mkdir(mode=0o777)
    execution.warm_dir.chmod(0o777)
    _, process = execution.start(add(1, 2))
    assert f"{COLD}: {execution.warm_dir} is no private directory" in process.communicate(timeout=60)[1]
    assert process.returncode == 0


def test_the_interpreter_is_that_of_the_path(execution: Execution, tmp_path: Path) -> None:
    # Given another installation that the script puts on its PATH
    other = tmp_path / "other" / "bin"
    other.mkdir(parents=True)
    (other / "python").symlink_to(sys.executable)
    (other.parent / "pyvenv.cfg").write_text((Path(sys.prefix) / "pyvenv.cfg").read_text())
    (other.parent / "lib").symlink_to(Path(sys.prefix) / "lib")
    program = other / "jfr-mp"
    program.write_text(f"#!{other}/python\n")
    program.chmod(0o755)

    # When a job runs there, and one without it
    runs = [execution.run(probe_jobs.looks_around(), before) for before in (f"export PATH={other}:$PATH", "")]

    # Then each runs with its interpreter
    executables = [execution.output(run_dir)["executable"] for run_dir, _ in runs]
    assert executables == [str(other / "python"), sys.executable]
