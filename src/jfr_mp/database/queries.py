"""Queries that read jobs and flows."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pymongo import ASCENDING, DESCENDING
from pymongo.collation import Collation

from jfr_mp.database.children import satisfying_states
from jfr_mp.database.field_types import text, utc
from jfr_mp.database.filters import FlowFilter, JobFilter
from jfr_mp.database.flow_lookup import find_flow, flow_uuid
from jfr_mp.database.flow_state import is_state
from jfr_mp.model import JOB_INFO_PROJECTION, FlowDoc, FlowInfo, JobDoc, JobInfo
from jfr_mp.states import FlowState, JobState

if TYPE_CHECKING:
    from pymongo.collection import Collection as MongoCollection

    from jfr_mp.database.connection import Doc, QueueDatabase

Sort = Sequence[tuple[str, int]] | None

#: A field to sort by: the db_id, as a number. By the field `db_id` itself, 10 comes before 9.
BY_NUMBER = "number"

#: jobflow's setting that decides whether a job runs although a parent has no output.
_MISSING_REFERENCES = "job.config.on_missing_references"


def job_id_query(
    db_id: str | None = None, job_id: str | None = None, job_index: int | None = None
) -> tuple[Doc, list[tuple[str, int]] | None]:
    """Return the filter and the sort order that select one job.

    Parameters
    ----------
    db_id
        Its db_id, or
    job_id, job_index
        its uuid and index; None selects the last index.

    Raises
    ------
    ValueError
        Not exactly one of `db_id` and `job_id` is given.
    """
    if (db_id is None) == (job_id is None):
        raise ValueError("give exactly one of db_id and job_id")
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
        Not exactly one of them is given.
    """
    queries = ((db_id, {"ids": {"$elemMatch": {"0": db_id}}}), (job_id, {"jobs": job_id}), (flow_id, {"uuid": flow_id}))
    given = [query for value, query in queries if value is not None]
    if len(given) != 1:
        raise ValueError("give exactly one of db_id, job_id and flow_id")
    return given[0]


def jobs_info(db: QueueDatabase, jobs: JobFilter, *, sort: Sort = None, limit: int = 0, skip: int = 0) -> list[JobInfo]:
    """Return the jobs that match, without their inputs; a limit of 0 means all."""
    found = db.jobs.find(jobs.query(db), JOB_INFO_PROJECTION, limit=limit, skip=skip, **_order(sort, "db_id"))
    return [JobInfo.from_query_output(_without_id(document)) for document in found]


def numbers_by_state(db: QueueDatabase, jobs: JobFilter) -> dict[JobState, int]:
    """Return how many of the jobs that match are in each state, in the order of a job's life; no job is transferred."""
    groups = db.jobs.aggregate([{"$match": jobs.query(db)}, {"$group": {"_id": "$state", "number": {"$sum": 1}}}])
    found = {JobState(group["_id"]): int(group["number"]) for group in groups}
    return {state: found[state] for state in JobState if state in found}


def numbers_in_flows(db: QueueDatabase, flow_uuids: Sequence[str]) -> dict[JobState, int]:
    """Return the same for all jobs of flows; this reads entries of an index only.

    A job that changes its state meanwhile may be counted twice or not at all.
    """
    members = {"job.hosts": {"$in": list(flow_uuids)}}
    states = {JobState(state) for state in db.jobs.distinct("state", members)}
    numbers = {
        state: db.jobs.count_documents({**members, "state": state.value}) for state in JobState if state in states
    }
    return {state: number for state, number in numbers.items() if number}


def _order(sort: Sort, db_id_field: str) -> dict[str, Any]:
    """Return the arguments of `find` for an order, which may contain `BY_NUMBER`."""
    if not any(field == BY_NUMBER for field, _ in sort or ()):
        return {"sort": sort}
    fields = [(db_id_field if field == BY_NUMBER else field, direction) for field, direction in sort or ()]
    return {"sort": fields, "collation": Collation("en", numericOrdering=True)}


def job_documents(db: QueueDatabase, jobs: JobFilter, *, sort: Sort = None, limit: int = 0, skip: int = 0) -> list[Doc]:
    """Return the whole documents of the jobs that match, inputs included; a limit of 0 means all."""
    return [_without_id(found) for found in db.jobs.find(jobs.query(db), sort=sort, limit=limit, skip=skip)]


def job_info(
    db: QueueDatabase, *, db_id: str | None = None, job_id: str | None = None, job_index: int | None = None
) -> JobInfo | None:
    """Return one job without its inputs, or None."""
    query, sort = job_id_query(db_id, job_id, job_index)
    found = db.jobs.find_one(query, JOB_INFO_PROJECTION, sort=sort)
    return JobInfo.from_query_output(_without_id(found)) if found else None


def job_doc(
    db: QueueDatabase, *, db_id: str | None = None, job_id: str | None = None, job_index: int | None = None
) -> JobDoc | None:
    """Return the whole document of one job, inputs included, or None."""
    query, sort = job_id_query(db_id, job_id, job_index)
    found = db.jobs.find_one(query, sort=sort)
    return JobDoc.model_validate(_without_id(found)) if found else None


@dataclass(frozen=True)
class LatestJob:
    """The job of the largest index of a uuid, and what it waits for.

    Parameters
    ----------
    job
        The job.
    enough
        The states of a parent in which it may start.
    """

    job: JobInfo
    enough: tuple[JobState, ...]

    @property
    def parents(self) -> Sequence[str]:
        """The uuids of the jobs that it depends on."""
        return self.job.parents or ()


def latest_jobs(db: QueueDatabase, uuids: Collection[str]) -> dict[str, LatestJob]:
    """Return the job of the largest index of each uuid, by uuid; a uuid without a job is missing."""
    projection = [*JOB_INFO_PROJECTION, _MISSING_REFERENCES]
    found = db.jobs.find({"uuid": {"$in": list(uuids)}}, projection, sort=[("index", ASCENDING)])
    return {document["uuid"]: _latest(document) for document in found}


def with_requirement(db: QueueDatabase, job: JobInfo) -> LatestJob:
    """Return a job, as it is known, with what it waits for."""
    return LatestJob(job, _enough(db.jobs.find_one({"db_id": job.db_id}, [_MISSING_REFERENCES]) or {}))


def _latest(document: Doc) -> LatestJob:
    enough = _enough(document)
    return LatestJob(JobInfo.from_query_output(_without_id(document)), enough)


def _enough(document: Doc) -> tuple[JobState, ...]:
    return tuple(map(JobState, satisfying_states(document)))


def uuids_beginning(collection: MongoCollection[Doc], beginning: str, limit: int = 5) -> list[str]:
    """Return the uuids in a collection that begin with a text, at most `limit`."""
    found = collection.distinct("uuid", {"uuid": {"$regex": f"^{re.escape(beginning)}"}})
    return [str(uuid) for uuid in found[:limit]]


def lock_of_flow(db: QueueDatabase, job: JobInfo) -> tuple[str | None, datetime | None]:
    """Return the id and the time of the lock on the flow of a job; both are None if the flow is unlocked or missing."""
    uuid = find_flow(db, job.uuid, job.hosts or ())
    flow = db.flows.find_one({"uuid": uuid}, {"lock_id": 1, "lock_time": 1}) or {}
    return text(flow.get("lock_id")), utc(flow.get("lock_time"))


def anything_moves(db: QueueDatabase, resting: Collection[JobState]) -> bool:
    """Return whether any job is in a state other than the given ones."""
    query = {"state": {"$nin": [state.value for state in resting]}}
    return db.jobs.find_one(query, {"_id": 1}) is not None


def flows_info(  # noqa: PLR0913 - the parameters of the reference
    db: QueueDatabase,
    flows: FlowFilter,
    *,
    sort: Sort = None,
    limit: int = 0,
    skip: int = 0,
    with_jobs_info: bool = False,
    jobs_sort: Sort = None,
) -> list[FlowInfo]:
    """Return the flows that match.

    Parameters
    ----------
    with_jobs_info
        Whether to read the jobs as well. Without it, the lists of their states, names, workers and hosts are empty.
    jobs_sort
        The order of the jobs of each flow; None for that of the flow.
    """
    # The smallest element of `ids` begins with the smallest db_id.
    documents = db.flows.find(flows.query(), limit=limit, skip=skip, **_order(sort, "ids"))
    found = [FlowDoc.model_validate(document) for document in documents]
    return [_flow_info(flow, _jobs_of(db, flow, jobs_sort) if with_jobs_info else None) for flow in found]


def _jobs_of(db: QueueDatabase, flow: FlowDoc, sort: Sort) -> list[JobInfo]:
    jobs = jobs_info(db, JobFilter(uuids=flow.jobs), sort=sort)
    if sort:
        return jobs
    order = {(uuid, index): position for position, (_, uuid, index) in enumerate(flow.ids)}
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


def store_name_of(db: QueueDatabase, job: JobDoc | JobInfo) -> str | None:
    """Return the name of the optional JobStore for the output of a job, or None for the project's default."""
    return flow_store_name(db, flow_uuid(db, job))


def flow_store_name(db: QueueDatabase, uuid: str) -> str | None:
    """Return the name of the optional JobStore for the outputs of a flow, or None for the project's default."""
    flow = db.flows.find_one({"uuid": uuid}, {"jobstore": 1}) or {}
    return flow.get("jobstore")


def count_jobs(db: QueueDatabase, jobs: JobFilter) -> int:
    """Return the number of jobs that match."""
    return db.jobs.count_documents(jobs.query(db))


def count_flows(db: QueueDatabase, flows: FlowFilter) -> int:
    """Return the number of flows that match."""
    return db.flows.count_documents(flows.query())


def count_jobs_states(
    db: QueueDatabase, states: Sequence[JobState] = tuple(JobState), worker: str | None = None
) -> dict[JobState, int]:
    """Return the number of jobs in each of the states, including zeros."""
    query: Doc = {"state": {"$in": [state.value for state in states]}}
    if worker is not None:
        query["worker"] = worker
    counted = _counted(db.jobs, query)
    return {state: counted.get(state.value, 0) for state in states}


def count_jobs_by_worker(db: QueueDatabase) -> dict[tuple[str, str], int]:
    """Return the number of jobs by (state, worker), without zeros; only an index is read."""
    group = {"_id": {"state": "$state", "worker": "$worker"}, "count": {"$sum": 1}}
    query = {"state": {"$in": [state.value for state in JobState]}}
    counted = db.jobs.aggregate([{"$match": query}, {"$group": group}])
    found: Counter[tuple[str, str]] = Counter()
    for row in counted:
        if is_state(row["_id"]["state"]):
            found[row["_id"]["state"], str(row["_id"].get("worker", ""))] += row["count"]
    return found


def count_flows_states(db: QueueDatabase, states: Sequence[FlowState] = tuple(FlowState)) -> dict[FlowState, int]:
    """Return the number of flows in each of the states, including zeros."""
    query = {"state": {"$in": [state.value for state in states]}}
    counted = _counted(db.flows, query)
    return {state: counted.get(state.value, 0) for state in states}


def _counted(collection: MongoCollection[Doc], query: Doc) -> dict[str, int]:
    """Return the number of documents by state, without those whose state is a list of states."""
    rows = collection.aggregate([{"$match": query}, {"$group": {"_id": "$state", "count": {"$sum": 1}}}])
    return {row["_id"]: row["count"] for row in rows if text(row["_id"])}


def _without_id(document: Doc) -> Doc:
    document.pop("_id", None)
    return document
