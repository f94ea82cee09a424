"""Reading jobs and flows: queries from the parameters that the reference offers, and what they return."""

from __future__ import annotations

import fnmatch
import uuid as uuids
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from pymongo import DESCENDING

from jfr_mp.model import JOB_INFO_PROJECTION, FlowDoc, FlowInfo, JobDoc, JobInfo
from jfr_mp.states import FlowState, JobState

if TYPE_CHECKING:
    from jfr_mp.database.connection import Doc, QueueDatabase

JobId = tuple[str, int]
Sort = Sequence[tuple[str, int]] | None


def build_job_query(  # noqa: PLR0913 - the reference's parameters
    db: QueueDatabase,
    *,
    job_ids: JobId | Sequence[JobId] | None = None,
    db_ids: str | Sequence[str] | None = None,
    flow_ids: str | Sequence[str] | None = None,
    states: JobState | Sequence[JobState] | None = None,
    locked: bool = False,
    start_date: datetime | None = None,
    end_date: datetime | None = None,
    name: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    workers: str | Sequence[str] | None = None,
    custom_query: Mapping[str, Any] | None = None,
) -> Doc:
    """Return the query for jobs that satisfy all conditions.

    Parameters
    ----------
    job_ids
        (uuid, index) of one or more jobs.
    db_ids, workers
        One or more of them.
    flow_ids
        The uuid of one or more flows, or the db_id of a job of each.
    states
        One or more states.
    locked
        Only jobs that are locked.
    start_date, end_date
        The limits of `updated_on`; times without a zone are local.
    name
        The name of the job, with the wildcards of `fnmatch`.
    metadata
        Values that the job's metadata must have; keys may be dotted paths.
    custom_query
        A MongoDB query; its keys must not be among those of the other conditions.

    Raises
    ------
    ValueError
        When `custom_query` repeats a condition.
    """
    query: Doc = {}
    if db_ids:
        query["db_id"] = {"$in": _listed(db_ids)}
    if job_ids:
        pairs = cast("list[JobId]", [job_ids] if isinstance(job_ids[0], str) else job_ids)
        query["$or"] = [{"uuid": uuid, "index": index} for uuid, index in pairs]
    if flow_ids:
        query["job.hosts"] = {"$in": [_flow_uuid(db, flow_id) for flow_id in _listed(flow_ids)]}
    if workers:
        query["worker"] = {"$in": _listed(workers)}
    query |= _common_conditions(states, start_date, end_date, locked)
    query |= _named("job.", name, metadata)
    repeated = sorted(query.keys() & (custom_query or {}).keys())
    if repeated:
        raise ValueError(f"custom_query repeats conditions given by other parameters: {', '.join(repeated)}")
    return {**query, **(custom_query or {})}


def build_flow_query(  # noqa: PLR0913 - the reference's parameters
    *,
    job_ids: str | Sequence[str] | None = None,
    db_ids: str | Sequence[str] | None = None,
    flow_ids: str | Sequence[str] | None = None,
    states: FlowState | Sequence[FlowState] | None = None,
    start_date: datetime | None = None,
    end_date: datetime | None = None,
    name: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    locked: bool = False,
) -> Doc:
    """Return the query for flows that satisfy all conditions.

    `job_ids` are uuids and `db_ids` db_ids of their jobs; the other parameters are those of `build_job_query`.
    """
    query: Doc = {}
    if db_ids:
        query["ids"] = {"$elemMatch": {"0": {"$in": _listed(db_ids)}}}
    if job_ids:
        query["jobs"] = {"$in": _listed(job_ids)}
    if flow_ids:
        query["uuid"] = {"$in": _listed(flow_ids)}
    return query | _common_conditions(states, start_date, end_date, locked) | _named("", name, metadata)


def _common_conditions(
    states: JobState | FlowState | Sequence[JobState] | Sequence[FlowState] | None,
    start_date: datetime | None,
    end_date: datetime | None,
    locked: bool,
) -> Doc:
    query: Doc = {}
    if states:
        wanted = [states] if isinstance(states, JobState | FlowState) else states
        query["state"] = {"$in": [state.value for state in wanted]}
    limits = {"$gte": start_date, "$lte": end_date}
    updated = {operator: limit.astimezone(UTC) for operator, limit in limits.items() if limit}
    if updated:
        query["updated_on"] = updated
    if locked:
        query["lock_id"] = {"$ne": None}
    return query


def _named(prefix: str, name: str | None, metadata: Mapping[str, Any] | None) -> Doc:
    query: Doc = {f"{prefix}metadata.{key}": value for key, value in (metadata or {}).items()}
    if name:
        query[f"{prefix}name"] = {"$regex": "^" + fnmatch.translate(name)}
    return query


def _flow_uuid(db: QueueDatabase, flow_id: str) -> str:
    """Return the uuid of a flow given as that or as a db_id of one of its jobs."""
    try:
        uuids.UUID(flow_id)
    except ValueError:
        flow = db.flows.find_one(flow_id_query(db_id=flow_id), {"uuid": 1})
        return flow["uuid"] if flow else flow_id
    return flow_id


def _listed(value: str | Sequence[str]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def job_id_query(
    db_id: str | None = None, job_id: str | None = None, job_index: int | None = None
) -> tuple[Doc, list[tuple[str, int]] | None]:
    """Return filter and sort that select one job.

    Parameters
    ----------
    db_id
        Its db_id, or
    job_id, job_index
        its uuid and index; without an index the last one is meant.

    Raises
    ------
    ValueError
        When not exactly one of `db_id` and `job_id` is given.
    """
    if (db_id is None) == (job_id is None):
        raise ValueError("give one of db_id and job_id")
    if db_id is not None:
        return {"db_id": db_id}, None
    if job_index is None:
        return {"uuid": job_id}, [("index", DESCENDING)]
    return {"uuid": job_id, "index": job_index}, None


def flow_id_query(db_id: str | None = None, job_id: str | None = None, flow_id: str | None = None) -> Doc:
    """Return the filter that selects one flow by the db_id or uuid of one of its jobs, or by its own uuid.

    Raises
    ------
    ValueError
        When not exactly one is given.
    """
    queries = ((db_id, {"ids": {"$elemMatch": {"0": db_id}}}), (job_id, {"jobs": job_id}), (flow_id, {"uuid": flow_id}))
    given = [query for value, query in queries if value is not None]
    if len(given) != 1:
        raise ValueError("give one of db_id, job_id and flow_id")
    return given[0]


def jobs_info(db: QueueDatabase, query: Mapping[str, Any], *, sort: Sort = None, limit: int = 0) -> list[JobInfo]:
    """Return the jobs that match, without their inputs; a limit of 0 means all."""
    found = db.jobs.find(query, JOB_INFO_PROJECTION, sort=sort, limit=limit)
    return [JobInfo.from_query_output(_without_id(document)) for document in found]


def job_info(
    db: QueueDatabase, *, db_id: str | None = None, job_id: str | None = None, job_index: int | None = None
) -> JobInfo | None:
    """Return one job without its inputs, or None."""
    query, sort = job_id_query(db_id, job_id, job_index)
    return next(iter(jobs_info(db, query, sort=sort, limit=1)), None)


def jobs_doc(db: QueueDatabase, query: Mapping[str, Any], *, sort: Sort = None, limit: int = 0) -> list[JobDoc]:
    """Return the whole documents of the jobs that match."""
    return [JobDoc.model_validate(_without_id(doc)) for doc in db.jobs.find(query, sort=sort, limit=limit)]


def flows_info(
    db: QueueDatabase,
    query: Mapping[str, Any],
    *,
    sort: Sort = None,
    limit: int = 0,
    skip: int = 0,
    with_jobs_info: bool = False,
) -> list[FlowInfo]:
    """Return the flows that match.

    Parameters
    ----------
    with_jobs_info
        Read the jobs as well; without it the lists of their states, names, workers and hosts stay empty.
    """
    flows = [FlowDoc.model_validate(doc) for doc in db.flows.find(query, sort=sort, limit=limit, skip=skip)]
    return [_flow_info(flow, _jobs_of(db, flow) if with_jobs_info else None) for flow in flows]


def _jobs_of(db: QueueDatabase, flow: FlowDoc) -> list[JobInfo]:
    order = {(uuid, index): position for position, (_, uuid, index) in enumerate(flow.ids)}
    jobs = jobs_info(db, {"job.hosts": flow.uuid})
    return sorted(jobs, key=lambda job: order.get((job.uuid, job.index), len(order)))


def _flow_info(flow: FlowDoc, jobs: Sequence[JobInfo] | None) -> FlowInfo:
    ids = flow.ids if jobs is None else [(job.db_id, job.uuid, job.index) for job in jobs]
    listed = jobs or ()
    return FlowInfo(
        db_ids=[db_id for db_id, _, _ in ids],
        job_ids=[uuid for _, uuid, _ in ids],
        job_indexes=[index for _, _, index in ids],
        flow_id=flow.uuid,
        state=flow.state,
        name=flow.name,
        created_on=flow.created_on,
        updated_on=flow.updated_on,
        workers=[job.worker for job in listed],
        job_states=[job.state for job in listed],
        job_names=[job.name for job in listed],
        parents=[job.parents or [] for job in listed],
        hosts=[job.hosts or [] for job in listed],
        flow_metadata=flow.metadata,
        jobs_info=None if jobs is None else list(jobs),
    )


def flow_store_name(db: QueueDatabase, flow_uuid: str) -> str | None:
    """Return the name of the optional JobStore for the outputs of a flow; None is the project's default."""
    flow = db.flows.find_one({"uuid": flow_uuid}, {"jobstore": 1}) or {}
    return flow.get("jobstore")


def count_jobs(db: QueueDatabase, query: Mapping[str, Any]) -> int:
    """Return the number of jobs that match."""
    return db.jobs.count_documents(query)


def count_flows(db: QueueDatabase, query: Mapping[str, Any]) -> int:
    """Return the number of flows that match."""
    return db.flows.count_documents(query)


def count_jobs_states(
    db: QueueDatabase, states: Sequence[JobState] = tuple(JobState), worker: str | None = None
) -> dict[JobState, int]:
    """Return the number of jobs in each of the states, zeros included."""
    query: Doc = {"state": {"$in": [state.value for state in states]}}
    if worker is not None:
        query["worker"] = worker
    counted = {row["_id"]: row["count"] for row in db.jobs.aggregate(_by_state(query))}
    return {state: counted.get(state.value, 0) for state in states}


def count_flows_states(db: QueueDatabase, states: Sequence[FlowState] = tuple(FlowState)) -> dict[FlowState, int]:
    """Return the number of flows in each of the states, zeros included."""
    query = {"state": {"$in": [state.value for state in states]}}
    counted = {row["_id"]: row["count"] for row in db.flows.aggregate(_by_state(query))}
    return {state: counted.get(state.value, 0) for state in states}


def _by_state(query: Doc) -> list[Doc]:
    return [{"$match": query}, {"$group": {"_id": "$state", "count": {"$sum": 1}}}]


def _without_id(document: Doc) -> Doc:
    document.pop("_id", None)
    return document
