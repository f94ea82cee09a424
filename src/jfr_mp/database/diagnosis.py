"""Diagnosing flows whose completion or submission was interrupted, without side effects."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jfr_mp.database.children import satisfying_states
from jfr_mp.database.flow_state import is_readable, leaves_of
from jfr_mp.states import UNFINISHED_STATES, FlowState, JobState

Doc = dict[str, Any]

#: The fields of a flow that a diagnosis needs.
FLOW_FIELDS = ("uuid", "state", "jobs", "ids", "updated_on", "lock_id")
#: The same for a job.
JOB_FIELDS = ("uuid", "index", "db_id", "state", "parents", "lock_id", "job.config.on_missing_references")


@dataclass(frozen=True)
class Diagnosis:
    """The inconsistencies of a flow.

    Parameters
    ----------
    ready
        The jobs that are WAITING although all their parents are done.
    unlisted
        The jobs that the document of the flow does not list.
    missing
        The db_ids of listed jobs that do not exist.
    state
        The state that follows from the jobs, if it differs from the stored one.
    empty
        Whether none of its jobs exists.
    """

    ready: tuple[Doc, ...] = ()
    unlisted: tuple[Doc, ...] = ()
    missing: tuple[str, ...] = ()
    state: FlowState | None = None
    empty: bool = False

    def __bool__(self) -> bool:
        """Return whether the flow has any inconsistency."""
        return self != Diagnosis()


def diagnose(flow: Mapping[str, Any], jobs: Sequence[Doc]) -> Diagnosis:
    """Compare a flow with its jobs.

    Parameters
    ----------
    flow
        Its document, with `FLOW_FIELDS`.
    jobs
        The documents of its jobs, with `JOB_FIELDS`.

    Returns
    -------
    Diagnosis
        None of the inconsistencies if a document is damaged: then nothing can be said, and the check names it.
    """
    if not jobs:
        return Diagnosis(empty=True)
    if not (_is_readable_flow(flow) and all(is_readable(job) and isinstance(job.get("db_id"), str) for job in jobs)):
        return Diagnosis()
    listed = {(uuid, index): db_id for db_id, uuid, index in flow["ids"]}
    uuids = set(flow["jobs"])
    present = {(job["uuid"], job["index"]) for job in jobs}
    latest = _latest(jobs)
    ready = tuple(job for job in latest.values() if _waits_for_nothing(job, latest))
    state = _state(jobs, ready)
    return Diagnosis(
        ready=ready,
        unlisted=tuple(job for job in jobs if (job["uuid"], job["index"]) not in listed or job["uuid"] not in uuids),
        missing=() if _may_be_inserting(jobs) else tuple(listed[key] for key in listed if key not in present),
        state=None if state.value == flow.get("state") else state,
    )


def _is_readable_flow(flow: Mapping[str, Any]) -> bool:
    ids, uuids = flow.get("ids"), flow.get("jobs")
    return (
        isinstance(uuids, list)
        and all(isinstance(each, str) for each in uuids)
        and isinstance(ids, list)
        and all(isinstance(each, list) and list(map(type, each)) == [str, str, int] for each in ids)
    )


def _latest(jobs: Sequence[Doc]) -> dict[str, Doc]:
    """Return the last index of each job; earlier ones were replaced and do not count."""
    return {job["uuid"]: job for job in sorted(jobs, key=lambda job: job["index"])}


def _waits_for_nothing(job: Doc, latest: Mapping[str, Doc]) -> bool:
    if job["state"] != JobState.WAITING.value or job.get("lock_id") is not None:
        return False
    enough = satisfying_states(job)
    # A missing parent does not count as done.
    return all(parent in latest and latest[parent]["state"] in enough for parent in job.get("parents") or ())


def _may_be_inserting(jobs: Sequence[Doc]) -> bool:
    """Return whether a completion that is in progress, or will be repeated, may still add jobs."""
    return any(job.get("lock_id") or job["state"] == JobState.DOWNLOADED.value for job in jobs)


def _state(jobs: Sequence[Doc], ready: Sequence[Doc]) -> FlowState:
    freed = {job["_id"] for job in ready}
    states = {JobState.READY if job["_id"] in freed else JobState(job["state"]) for job in jobs}
    if states & set(UNFINISHED_STATES):
        return FlowState.from_jobs_states(states, {JobState.RUNNING})
    return FlowState.from_jobs_states(states, {JobState(leaf["state"]) for leaf in leaves_of(jobs)})
