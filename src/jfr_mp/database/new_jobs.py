"""The jobs of a flow that is to be added to the queue, and what each of them depends on.

The dependencies are those of jobflow's `Flow.iterflow`, and the order is that of the flow as far as they allow it.
jobflow builds graphs of networkx for that, whose import and unions take a third of the time of a submission.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobflow import Flow, Job

Doc = dict[str, Any]

#: For each job the jobs that it depends on, by uuid; the values of the inner mapping mean nothing, its order is kept.
_Parents = dict[str, dict[str, None]]

#: The parts of a serialized job that its function receives; the maker is bound to the function.
_INPUT = ("function", "function_args", "function_kwargs")


@dataclass(frozen=True)
class NewJob:
    """A job of a flow that is to be added to the queue.

    Parameters
    ----------
    job
        The job.
    parents
        The uuids of the jobs of the flow that it depends on.
    """

    job: Job
    parents: Sequence[str]

    @cached_property
    def content(self) -> Doc:
        """The job as MongoDB stores it."""
        # Once more: jobflow leaves enumerations of the objects within a job.
        return _with_exact_times(sanitized(self.job))


def new_jobs_of(flow: Flow | Job) -> list[NewJob]:
    """Return the jobs of a flow, including those of nested flows; parents before children.

    Raises
    ------
    ValueError
        The jobs depend on each other in a cycle.
    """
    jobs = {job.uuid: job for job in _jobs_of(flow)}
    parents: _Parents = {
        uuid: {parent: None for parent in job.input_uuids if parent in jobs} for uuid, job in jobs.items()
    }
    _tie(flow, parents)
    return [NewJob(jobs[uuid], list(parents[uuid])) for uuid in _in_order(parents)]


def leaves_of(jobs: Sequence[NewJob]) -> list[str]:
    """Return the uuids of the jobs that no other job of the flow depends on."""
    needed = set(chain.from_iterable(new.parents for new in jobs))
    return [new.job.uuid for new in jobs if new.job.uuid not in needed]


def missing_references(jobs: Sequence[NewJob]) -> list[str]:
    """Return the uuids of jobs outside the flow whose outputs its jobs refer to."""
    own = {new.job.uuid for new in jobs}
    return sorted({uuid for new in jobs for uuid in _references(new.content)} - own)


def sanitized(thing: Any) -> Any:
    """Convert objects to values that MongoDB can store."""
    from monty.json import jsanitize

    return jsanitize(thing, strict=True, allow_bson=True)


def _jobs_of(flow: Flow | Job) -> Iterator[Job]:
    from jobflow import Flow

    if isinstance(flow, Flow):
        for item in flow:
            yield from _jobs_of(item)
    else:
        yield flow


def _tie(flow: Flow | Job, parents: _Parents) -> list[str]:
    """Add the dependencies of linear flows, in which each item follows the one before; return the uuids of the jobs."""
    from jobflow import Flow, JobOrder

    if not isinstance(flow, Flow):
        return [flow.uuid]
    items = [_tie(item, parents) for item in flow]
    for earlier, later in pairwise(items) if flow.order == JobOrder.LINEAR else ():
        needed = set(chain.from_iterable(parents[uuid] for uuid in earlier))
        last = [uuid for uuid in earlier if uuid not in needed]
        own = set(later)
        for first in [uuid for uuid in later if own.isdisjoint(parents[uuid])]:
            parents[first].update(dict.fromkeys(last))
    return list(chain.from_iterable(items))


def _in_order(parents: _Parents) -> Iterator[str]:
    """Yield the uuids in their order, except that parents come before children."""
    uuids = list(parents)
    positions = {uuid: position for position, uuid in enumerate(uuids)}
    sorter = TopologicalSorter(parents)
    try:
        sorter.prepare()
    except CycleError as error:
        raise ValueError(f"the jobs {', '.join(error.args[1])} depend on each other in a cycle") from error
    ready: list[int] = []
    while sorter.is_active():
        for uuid in sorter.get_ready():
            heapq.heappush(ready, positions[uuid])
        uuid = uuids[heapq.heappop(ready)]
        yield uuid
        sorter.done(uuid)


def _references(content: Doc) -> set[str]:
    found: set[str] = set()
    pending: list[Any] = [content]
    while pending:
        value = pending.pop()
        if isinstance(value, dict):
            if value.get("@class") == "OutputReference":
                found.add(value["uuid"])
            pending.extend(value.values())
        elif isinstance(value, list | tuple):
            pending.extend(value)
    return found


def _with_exact_times(job: Doc) -> Doc:
    """Serialize the times in the input of a job as monty does: MongoDB drops their zone and their microseconds."""
    return {**job, **{part: _exact(job[part]) for part in _INPUT if part in job}}


def _exact(value: Any) -> Any:
    if isinstance(value, datetime):
        return {"@module": "datetime", "@class": "datetime", "string": str(value)}
    if isinstance(value, dict):
        return {key: _exact(item) for key, item in value.items()}
    return [_exact(item) for item in value] if isinstance(value, list | tuple) else value
