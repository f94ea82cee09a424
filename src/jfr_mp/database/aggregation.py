"""Reading raw documents, and flows together with their jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jfr_mp.database.filters import FlowFilter, JobFilter
from jfr_mp.database.locks import UNLOCKED
from jfr_mp.errors import InvalidQuery

if TYPE_CHECKING:
    from pymongo.collection import Collection

    from jfr_mp.database.connection import Doc, QueueDatabase

Projection = Sequence[str] | Mapping[str, Any] | None


def documents(collection: Collection[Doc], query: Mapping[str, Any] | None, projection: Projection = None) -> list[Doc]:
    """Return the documents that match a query."""
    return list(collection.find(query or {}, projection))


def document(
    collection: Collection[Doc], query: Mapping[str, Any], projection: Projection = None, *, last: bool = False
) -> Doc | None:
    """Return one document that matches a query, with `last` the one of the largest index, or None."""
    return collection.find_one(query, projection, sort=[("index", -1)] if last else None)


def job_uuids(db: QueueDatabase, flow_uuids: Sequence[str]) -> list[str]:
    """Return the uuids of the jobs of some flows."""
    return [uuid for flow in db.flows.find({"uuid": {"$in": list(flow_uuids)}}, {"jobs": 1}) for uuid in flow["jobs"]]


def flows_with_jobs(  # noqa: PLR0913 - the reference's parameters
    db: QueueDatabase,
    *,
    query: Mapping[str, Any] | None = None,
    into: str = "jobs_list",
    flow_fields: Mapping[str, Any] | None = None,
    job_fields: Mapping[str, Any] | None = None,
    sort: Sequence[tuple[str, int]] | None = None,
    jobs_sort: Sequence[tuple[str, int]] | None = None,
    limit: int = 0,
) -> list[Doc]:
    """Return the documents of flows, each with the documents of its jobs in the field `into`.

    Parameters
    ----------
    query
        Selects the flows; it may refer to the jobs by the field `into`.
    flow_fields, job_fields
        The projections of flows and jobs; None for all fields.
    sort, jobs_sort
        The order of the flows and of the jobs of each.
    limit
        The maximum number of flows; 0 for no limit.
    """
    lookup: Doc = {"from": db.jobs.name, "localField": "jobs", "foreignField": "uuid", "as": into}
    jobs = [*_stage("$sort", dict(jobs_sort or ())), *_stage("$project", dict(job_fields or {}))]
    if jobs:
        lookup["pipeline"] = jobs
    shown = dict(flow_fields or {})
    if shown and job_fields:
        shown |= {f"{into}.{name}": 1 for name in job_fields}
    return list(
        db.flows.aggregate(
            [
                {"$lookup": lookup},
                *_stage("$match", dict(query or {})),
                *_stage("$project", shown),
                *_stage("$sort", dict(sort or ())),
                *_stage("$limit", limit),
            ]
        )
    )


def _stage(operator: str, value: Any) -> list[Doc]:
    return [{operator: value}] if value else []


def unlock_jobs(db: QueueDatabase, jobs: JobFilter) -> int:
    """Break the locks of the locked jobs that match, even if another process holds them; return their number."""
    return db.jobs.update_many(jobs.query(db), {"$set": dict(UNLOCKED)}).modified_count


def unlock_flows(db: QueueDatabase, flows: FlowFilter) -> int:
    """Break the locks of the locked flows that match, even if another process holds them; return their number."""
    return db.flows.update_many(flows.query(), {"$set": dict(UNLOCKED)}).modified_count


def job_of_index(db: QueueDatabase, uuid: str, index: int | str, projection: Projection = None) -> Doc | None:
    """Return the document of a job by its uuid and its index, or "last" for the largest one.

    Raises
    ------
    InvalidQuery
        The index is neither a number nor "last".
    """
    if isinstance(index, int):
        return document(db.jobs, {"uuid": uuid, "index": index}, projection)
    if index != "last":
        raise InvalidQuery(f"job_index is {index!r}; give a number or 'last'")
    return document(db.jobs, {"uuid": uuid}, projection, last=True)
