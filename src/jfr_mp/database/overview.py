"""Queries of pages that show many jobs at once: numbers, and lists in parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from bson import ObjectId
from bson.errors import InvalidId

from jfr_mp.database.field_types import IS_DATE, IS_TEXT, date_or_null, fields, length_of, milliseconds_between
from jfr_mp.database.filters import FlowFilter, JobFilter
from jfr_mp.database.flow_state import is_readable, is_state
from jfr_mp.errors import InvalidQuery
from jfr_mp.model import JOB_INFO_PROJECTION, JobInfo
from jfr_mp.states import FlowState, JobState

if TYPE_CHECKING:
    from pymongo.collection import Collection

    from jfr_mp.database.connection import Doc, QueueDatabase

#: How many matches are counted at most.
MOST_COUNTED = 10_000
#: How many jobs of the flows of one list are examined, to show their states.
_MOST_MEMBERS = 5_000
#: The states in which only jfr-mp itself has to act.
_IN_TRANSIT = (JobState.CHECKED_OUT, JobState.UPLOADED, JobState.RUN_FINISHED, JobState.DOWNLOADED)
_ENDS = (JobState.COMPLETED, JobState.FAILED)
#: The phases of the life of a job, with the fields of its document between which each one is.
_PHASES = {
    "waiting": ("created_on", "start_time"),
    "running": ("start_time", "end_time"),
    "closing": ("end_time", "updated_on"),
}

_FLOW_FIELDS: dict[str, Any] = {
    **dict.fromkeys(("uuid", "name", "state", "created_on", "updated_on"), 1),
    "size": length_of("ids"),
}

#: The flows that can be shown.
_READABLE_FLOW: dict[str, Any] = {
    **dict.fromkeys(("created_on", "updated_on"), IS_DATE),
    **dict.fromkeys(("uuid", "name"), IS_TEXT),
    "state": {"$in": [state.value for state in FlowState], **IS_TEXT},
}

#: The place of a row in a list: its time, and the id of its document.
Place = tuple[datetime, str]


@dataclass(frozen=True)
class FlowRow:
    """A flow in a list.

    Parameters
    ----------
    flow_id, name, state, created_on, updated_on
        Of the flow.
    size
        The number of its jobs.
    states
        The number of its jobs in each state; None if the flow is too large to count them for a list.
    """

    flow_id: str
    name: str
    state: FlowState
    created_on: datetime
    updated_on: datetime
    size: int
    states: Mapping[JobState, int] | None = None


@dataclass(frozen=True)
class EndedJobs:
    """Jobs that ended in a part of a time span.

    Parameters
    ----------
    completed, failed
        Their numbers.
    phases
        The mean time in seconds that they spent `waiting` before they started, `running` on their worker and `closing`
        until their state was final; a phase is missing if no job has its times.
    """

    completed: int = 0
    failed: int = 0
    phases: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class FlowMember:
    """A job of a flow, with no more than a graph needs."""

    db_id: str
    uuid: str
    index: int
    name: str
    state: JobState
    parents: Sequence[str]


def counts_by_worker(db: QueueDatabase) -> dict[str, dict[JobState, int]]:
    """Return the number of jobs in each state that has any, by worker; only an index is read."""
    group = {"$group": {"_id": {"worker": "$worker", "state": "$state"}, "count": {"$sum": 1}}}
    match = {"$match": {"state": {"$in": [state.value for state in JobState]}}}
    pipeline: list[Doc] = [match, {"$project": {"_id": 0, "worker": 1, "state": 1}}, group]
    found: dict[str, dict[JobState, int]] = {}
    for row in db.jobs.aggregate(pipeline):
        if is_state(row["_id"].get("state")):
            found.setdefault(str(row["_id"].get("worker")), {})[JobState(row["_id"]["state"])] = row["count"]
    return dict(sorted(found.items()))


def ends_since(db: QueueDatabase, since: datetime, seconds: int) -> dict[int, EndedJobs]:
    """Return the jobs that have become COMPLETED or FAILED, by the part of the time since then.

    Parameters
    ----------
    seconds
        The length of a part. A part is given by its number since 1970.
    """
    part = {"$floor": {"$divide": [{"$toLong": date_or_null("updated_on")}, 1000 * seconds]}}
    group: Doc = {
        "_id": part,
        "number": {"$sum": 1},
        "failed": {"$sum": {"$cond": [{"$eq": ["$state", JobState.FAILED.value]}, 1, 0]}},
        **{name: {"$avg": milliseconds_between(begin, end)} for name, (begin, end) in _PHASES.items()},
    }
    pipeline: list[Doc] = [
        {"$match": {"updated_on": {"$gte": since}, "state": {"$in": [state.value for state in _ENDS]}}},
        {"$group": group},
    ]
    return {
        int(row["_id"]): EndedJobs(
            completed=row["number"] - row["failed"],
            failed=row["failed"],
            # A clock of a worker that is not right may give less than nothing.
            phases={name: max(row[name], 0.0) / 1000 for name in _PHASES if row[name] is not None},
        )
        for row in db.jobs.aggregate(pipeline)
        if row["_id"] is not None
    }


def late_jobs(db: QueueDatabase, older_than: timedelta, limit: int) -> list[JobInfo]:
    """Return jobs that have been in the hands of jfr-mp itself for longer than usual, the latest first."""
    before = datetime.now(UTC) - older_than
    query = {"state": {"$in": [state.value for state in _IN_TRANSIT]}, "updated_on": {"$lt": before}}
    found = db.jobs.find(query, JOB_INFO_PROJECTION, sort=[("updated_on", 1)], limit=limit)
    return [JobInfo.from_query_output(_without_id(document)) for document in found]


def place_of(text: str) -> Place:
    """Read a place from an ISO time and an id, separated by a space.

    Raises
    ------
    InvalidQuery
        The text is not one.
    """
    time, _, key = text.partition(" ")
    try:
        return datetime.fromisoformat(time), str(ObjectId(key))
    except (ValueError, InvalidId):
        raise InvalidQuery(f"{text[:60]!r} is not a place in a list") from None


def page_of_jobs(
    db: QueueDatabase, jobs: JobFilter, *, after: Place | None, limit: int
) -> tuple[list[JobInfo], Place | None]:
    """Return a part of the jobs that match, the last updated first, and the place behind it if there are more."""
    found, place = _page(db.jobs, jobs.query(db), after, limit, JOB_INFO_PROJECTION)
    return [JobInfo.from_query_output(_without_id(document)) for document in found], place


def page_of_flows(
    db: QueueDatabase, flows: FlowFilter, *, after: Place | None, limit: int
) -> tuple[list[FlowRow], Place | None]:
    """Return a part of the flows that match as `page_of_jobs` does, with the states of their jobs."""
    found, place = _page(db.flows, {"$and": [flows.query(), _READABLE_FLOW]}, after, limit, _FLOW_FIELDS)
    left, counted = _MOST_MEMBERS, []
    for flow in found:
        if flow["size"] <= left:
            left -= flow["size"]
            counted.append(flow["uuid"])
    states = _states_of(db, counted)
    return [_flow_row(flow, states.get(flow["uuid"])) for flow in found], place


def flow_row(db: QueueDatabase, flow_id: str) -> FlowRow | None:
    """Return a flow by its uuid or the db_id of one of its jobs, without the states of its jobs, or None."""
    query = {"$and": [FlowFilter(flow_ids=(flow_id,)).query(), _READABLE_FLOW]}
    found = db.flows.find_one(query, _FLOW_FIELDS)
    return _flow_row(found, None) if found else None


def members_of_flow(db: QueueDatabase, flow_id: str) -> list[FlowMember]:
    """Return the jobs of a flow, those of inner flows included, in the order in which they were added."""
    wanted = dict.fromkeys(("db_id", "uuid", "index", "job.name", "state", "parents"), 1)
    # Sorted here: to sort by `_id`, the server may read all jobs in that order instead of the index of the flow.
    found = sorted(db.jobs.find({"job.hosts": flow_id}, wanted), key=lambda job: str(job["_id"]))
    return [
        FlowMember(
            db_id=str(job.get("db_id")),
            uuid=job["uuid"],
            index=job["index"],
            name=str(fields(job.get("job")).get("name", "")),
            state=JobState(job["state"]),
            parents=job.get("parents") or (),
        )
        for job in found
        if is_readable(job)
    ]


def number_of(collection: Collection[Doc], query: Mapping[str, Any]) -> int:
    """Return how many documents match; from `MOST_COUNTED` on, no more are counted."""
    return collection.count_documents(query, limit=MOST_COUNTED)


def _flow_row(flow: Doc, states: Mapping[JobState, int] | None) -> FlowRow:
    return FlowRow(
        flow_id=flow["uuid"],
        name=flow["name"],
        state=FlowState(flow["state"]),
        created_on=flow["created_on"].replace(tzinfo=UTC),
        updated_on=flow["updated_on"].replace(tzinfo=UTC),
        size=flow["size"],
        states=states,
    )


def _page(
    collection: Collection[Doc], query: Doc, after: Place | None, limit: int, fields: Any
) -> tuple[list[Doc], Place | None]:
    """Return documents by `updated_on`, then by `_id`, the last first, and the place behind them if there are more.

    There is an index of the time only, and thousands of documents may have the same one. So the index gives the time of
    the last row first, and then the documents from there on are sorted, which are not many.
    """
    conditions: list[Doc] = [query, {"updated_on": IS_DATE}]
    if after is not None:
        time, key = after[0], ObjectId(after[1])
        behind = [{"updated_on": {"$lt": time}}, {"updated_on": time, "_id": {"$lt": key}}]
        conditions += [{"updated_on": {"$lte": time}}, {"$or": behind}]
    newest_first = [("updated_on", -1)]
    wanted = {"$and": conditions}
    times = list(collection.find(wanted, {"updated_on": 1, "_id": 0}, sort=newest_first, limit=limit + 1))
    if len(times) > limit:
        conditions.append({"updated_on": {"$gte": times[-1]["updated_on"]}})
    found = list(collection.find(wanted, fields, sort=[*newest_first, ("_id", -1)], limit=limit + 1))
    last = found[limit - 1] if len(found) > limit else None
    return found[:limit], (last["updated_on"].replace(tzinfo=UTC), str(last["_id"])) if last else None


def _states_of(db: QueueDatabase, flow_ids: Sequence[str]) -> dict[str, dict[JobState, int]]:
    of_these: Doc = {"$match": {"job.hosts": {"$in": list(flow_ids)}}}
    pipeline: list[Doc] = [
        of_these,
        {"$project": {"job.hosts": 1, "state": 1}},
        {"$unwind": "$job.hosts"},
        of_these,
        {"$group": {"_id": {"flow": "$job.hosts", "state": "$state"}, "count": {"$sum": 1}}},
    ]
    found: dict[str, dict[JobState, int]] = {}
    for row in db.jobs.aggregate(pipeline):
        if is_state(row["_id"].get("state")):
            found.setdefault(row["_id"]["flow"], {})[JobState(row["_id"]["state"])] = row["count"]
    return found


def _without_id(document: Doc) -> Doc:
    return {key: value for key, value in document.items() if key != "_id"}
