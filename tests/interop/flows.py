"""The flows that both packages run; workers import the jobs from here.

All jobs of a flow have names of their own, by which the runs of one flow can be compared.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from jobflow import Flow, Job, JobConfig, OnMissing, Response, job


@job
def add(a: float, b: float = 1) -> float:
    """Return the sum of two numbers."""
    return a + b


@job
def total(values: list[float]) -> float:
    """Return the sum of the outputs of other jobs."""
    return sum(values)


@job(data="blob")
def stores_blob(value: float) -> dict[str, Any]:
    """Return a value, and something for the additional store named data."""
    return {"value": value, "blob": {"values": [value] * 10}}


@job
def reads_blob(result: dict[str, Any]) -> float:
    """Return the sum of what the additional store holds."""
    return sum(result["blob"]["values"])


@job
def splits(values: list[float]) -> Response[Any]:
    """Replace itself with one `add` for each value and a `total` of all of them."""
    parts = [named(f"part {value:g}", add(value)) for value in values]
    last = named("sum of parts", total([part.output for part in parts]))
    return Response(replace=Flow([*parts, last], output=last.output, name="parts"))


@job
def counts_down(n: int) -> Response[Any] | int:
    """Replace itself with the same job, until n is 0."""
    return Response(replace=named("count down", counts_down(n - 1))) if n else n


@job
def detours(value: float) -> Response[Any]:
    """Return the value, and let a chain of two jobs run before the children of this job."""
    first = named(f"detour {value:g}", add(value))
    second = named(f"end of detour {value:g}", add(first.output))
    return Response(output=value, detour=Flow([first, second], name="detour"))


@job
def does_all(value: float) -> Response[Any]:
    """Return all at once: an output, stored data, a detour and an addition."""
    return Response(
        output=value,
        stored_data={"value": value, "where": {"a": [1, 2]}},
        detour=named("its detour", add(value)),
        addition=named("its addition", add(value)),
    )


@job
def nests(value: float) -> Response[Any]:
    """Replace itself with a flow in a flow, of which one job replaces itself again."""
    split = named("inner split", splits([value]))
    after = named("after the inner split", add(split.output))
    return Response(replace=Flow([Flow([split], name="inner"), after], output=after.output, name="outer"))


@job
def stops(children: bool = False, jobflow: bool = False) -> Response[Any]:
    """Stop the children of this job, or the rest of the flow."""
    return Response(output=1, stop_children=children, stop_jobflow=jobflow)


@job
def replaces_and_stops() -> Response[Any]:
    """Ask for more jobs and for the end of the flow."""
    return Response(replace=Flow([named("never", add(1))], name="unwanted"), stop_jobflow=True)


@job
def fails(message: str = "this job fails") -> None:
    """Raise."""
    raise RuntimeError(message)


@job
def needs_file(path: str) -> str:
    """Return the text of a file, or fail."""
    return Path(path).read_text()


@job
def waits_for_file(path: str, ledger: str) -> str:
    """Sign a ledger, then return the text of a file as soon as there is one."""
    with Path(ledger).open("a") as file:
        file.write("started\n")
    while not Path(path).exists():
        time.sleep(0.05)
    return Path(path).read_text()


@job(config=JobConfig(on_missing_references=OnMissing.NONE))
def takes_what_is_there(value: Any) -> Any:
    """Return what a parent left, or None."""
    return value


def named(name: str, made: Job) -> Job:
    """Give a job its name."""
    made.name = name
    return made


def chain(length: int = 2) -> Flow:
    """Return a flow of jobs, each the child of the one before."""
    jobs: list[Flow | Job] = [named("link 1", add(0))]
    for number in range(2, length + 1):
        jobs.append(named(f"link {number}", add(jobs[-1].output)))
    return Flow(jobs, name="chain")


def followed(parent: Job) -> Flow:
    """Return a flow of a job and one that depends on it."""
    return Flow([parent, named("child", add(parent.output))])


def _nested() -> Flow:
    nest = named("nest", nests(1))
    return Flow([Flow([nest], name="begin"), Flow([named("last", add(nest.output))], name="end")])


def _stopping(**what: bool) -> Flow:
    parent = named("stops", stops(**what))
    child = named("child", add(parent.output))
    return Flow([parent, child, named("grandchild", add(child.output))])


def _failing() -> Flow:
    bad = named("bad", fails())
    return Flow([bad, named("child", add(bad.output)), named("tolerant", takes_what_is_there(bad.output))])


def _stored() -> Flow:
    writer = named("writer", stores_blob(2))
    return Flow([writer, named("reader", reads_blob(writer.output))])


#: The flows by name; everything that jobflow lets a job return occurs.
FLOWS: Mapping[str, Callable[[], Flow]] = {
    "replace": lambda: followed(named("split", splits([1, 2]))),
    "replace by a job": lambda: followed(named("count", counts_down(1))),
    "detour": lambda: followed(named("detours", detours(1))),
    "all at once": lambda: followed(named("all", does_all(3))),
    "nested": _nested,
    "stop children": lambda: _stopping(children=True),
    "stop jobflow": lambda: _stopping(jobflow=True),
    "replace and stop": lambda: followed(named("stops", replaces_and_stops())),
    "failure": _failing,
    "additional store": _stored,
    "optional jobstore": lambda: Flow([named("elsewhere", add(1))]),
}


def submit_all(submit_flow: Callable[..., list[str]], names: Iterable[str]) -> None:
    """Submit these flows by the function of either package."""
    for name in names:
        flow = FLOWS[name]()
        flow.name = name
        flow.metadata = {"made_for": name}
        submit_flow(flow, worker="local", jobstore="other" if name == "optional jobstore" else None)
