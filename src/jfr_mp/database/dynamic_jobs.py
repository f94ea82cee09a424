"""Appending the flows that a job returned to the flow that it belongs to.

Every write can be repeated: after a crash between two writes, the next attempt recognises the existing data. The `ids`
of the flow record the assigned db_ids; they are written before the jobs.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jfr_mp.database.documents import JobOptions, job_document
from jfr_mp.database.new_jobs import NewJob, leaves_of, new_jobs_of
from jfr_mp.database.submission import new_db_ids
from jfr_mp.model import JobDoc, is_uuid, utcnow
from jfr_mp.outcomes import Added
from jfr_mp.states import JobState

if TYPE_CHECKING:
    from jobflow import JobConfig
    from pymongo.client_session import ClientSession

    from jfr_mp.database.connection import Doc, QueueDatabase

logger = logging.getLogger(__name__)


class BadFlow(Exception):
    """What a job returned cannot be added to its flow."""


@dataclass(frozen=True)
class NewFlow:
    """A flow that a job returned.

    Parameters
    ----------
    relation
        The relation to that job.
    jobs
        Its jobs, parents before children.
    """

    relation: Added
    jobs: Sequence[NewJob]

    @property
    def uuids(self) -> list[str]:
        """The uuids of its jobs."""
        return [each.job.uuid for each in self.jobs]

    @property
    def leaves(self) -> list[str]:
        """The uuids of the jobs that no other job of the flow depends on."""
        return leaves_of(self.jobs)


@dataclass(frozen=True)
class Origin:
    """The job that returned flows, and the uuid of its own flow."""

    job: JobDoc
    flow_uuid: str


def read_flow(relation: Added, serialized: Mapping[str, Any]) -> NewFlow:
    """Return a serialized flow as an object, without importing the packages of its jobs.

    Functions and arguments remain dictionaries.

    Raises
    ------
    BadFlow
        What the job returned is not a flow.
    """
    try:
        flow = _partial(_without_schemas(serialized))
        new = NewFlow(relation, new_jobs_of(flow))
    except Exception as error:  # a job can return anything, and jobflow raises any error for it
        raise BadFlow(f"the {relation} that the job returned is not a valid flow: {_one_line(error)}") from error
    for each in new.jobs:
        job = each.job
        if not is_uuid(job.uuid) or not isinstance(job.index, int) or job.index < 1:
            raise BadFlow(f"the {relation} that the job returned has a job with a bad uuid or index: {job.uuid[:99]!r}")
    return new


def require_own(db: QueueDatabase, flow_uuid: str, new_flows: Sequence[NewFlow]) -> None:
    """Raise `BadFlow` if a flow that a job returned contains a job of another flow."""
    uuids = [uuid for new in new_flows for uuid in new.uuids]
    if not uuids:
        return
    other = db.flows.find_one({"jobs": {"$in": uuids}, "uuid": {"$ne": flow_uuid}}, {"uuid": 1})
    if other is not None:
        raise BadFlow(f"a flow that the job returned contains a job of another flow, {other['uuid']}")


def _one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:300]}" if lines else type(error).__name__


def _without_schemas(value: Any) -> Any:
    """Return a copy of serialized jobs without the schemas of their references, which jobflow would import.

    They only serve to check the attributes of references when a flow is written.
    """
    if isinstance(value, Mapping):
        copy = {key: _without_schemas(item) for key, item in value.items()}
        return {**copy, "output_schema": None} if copy.get("@class") == "OutputReference" else copy
    return [_without_schemas(item) for item in value] if isinstance(value, list | tuple) else value


def _partial(serialized: Doc) -> Any:
    from jobflow import Flow, Job

    fields = {key: value for key, value in serialized.items() if key not in ("@module", "@class", "@version")}
    if serialized.get("@class") == "Flow":
        fields.pop("job", None)
        fields["jobs"] = [_partial(member) for member in fields["jobs"]]
        flow: Flow = Flow(**fields)
        return flow
    fields["config"] = _config(fields["config"])
    return Job(**fields)


def _config(serialized: Doc) -> JobConfig:
    """Return the configuration of a job; no class is imported, whatever it names."""
    from jobflow import JobConfig, OnMissing

    fields = {key: value for key, value in serialized.items() if not key.startswith("@")}
    missing = fields.get("on_missing_references", OnMissing.ERROR)
    fields["on_missing_references"] = OnMissing(missing["value"] if isinstance(missing, dict) else missing)
    return JobConfig(**fields)


def append(
    db: QueueDatabase,
    origin: Origin,
    new_flows: Sequence[NewFlow],
    stopped: bool,
    session: ClientSession | None,
) -> bool:
    """Append the flows that a job returned, in order; the caller must hold the lock of the job's flow.

    Parameters
    ----------
    origin
        The job.
    stopped
        Whether the job also asked to stop its children or its flow; the new jobs are then created as STOPPED.

    Returns
    -------
    bool
        Whether any of the new jobs is READY because it depends on no other job.
    """
    job, ready = origin.job, False
    for position, new in enumerate(new_flows):
        documents = _missing_documents(db, origin, new, session)
        if stopped:
            for document in documents:
                document["state"] = JobState.STOPPED.value
        # The jobs of later flows must not be delayed by this one; after a crash they may exist already.
        later = [uuid for flow in new_flows[position:] for uuid in flow.uuids]
        delayed = _children(db, job.uuid, later, session) if new.relation is Added.DETOUR else []
        db.flows.update_one({"uuid": origin.flow_uuid}, _flow_update(documents, delayed, new.leaves), session=session)
        if documents:
            db.jobs.insert_many(documents, session=session)
        if delayed:
            db.jobs.update_many(
                {"_id": {"$in": [child["_id"] for child in delayed]}},
                {"$addToSet": {"parents": {"$each": list(new.leaves)}}},
                session=session,
            )
        ready = ready or any(document["state"] == JobState.READY.value for document in documents)
        logger.info("job %s added %d jobs (%s)", job.db_id, len(documents), new.relation)
    return ready


def _missing_documents(db: QueueDatabase, origin: Origin, new: NewFlow, session: ClientSession | None) -> list[Doc]:
    """Return documents for the new jobs that do not exist yet, reusing the db_ids of an earlier attempt."""
    job = origin.job
    inherited = job.parents if new.relation is Added.REPLACE else [job.uuid]
    found = db.jobs.find({"uuid": {"$in": new.uuids}}, {"uuid": 1, "index": 1}, session=session)
    present = {(row["uuid"], row["index"]) for row in found}
    given = _given_db_ids(db, origin.flow_uuid, new.uuids, session)
    missing = {key: each for each in new.jobs if (key := (each.job.uuid, each.job.index)) not in present}
    fresh = iter(new_db_ids(db, len(missing.keys() - given.keys())))
    options = JobOptions.of_job(job)
    return [job_document(each, given.get(key) or next(fresh), options, inherited) for key, each in missing.items()]


def _given_db_ids(
    db: QueueDatabase, flow_uuid: str, uuids: Sequence[str], session: ClientSession | None
) -> dict[tuple[str, int], str]:
    of_new = {"$in": [{"$arrayElemAt": ["$$this", 1]}, list(uuids)]}
    flow = db.flows.find_one(
        {"uuid": flow_uuid}, {"ids": {"$filter": {"input": "$ids", "as": "this", "cond": of_new}}}, session=session
    )
    return {(uuid, index): db_id for db_id, uuid, index in (flow or {}).get("ids", ())}


def _children(db: QueueDatabase, uuid: str, excluded: Sequence[str], session: ClientSession | None) -> list[Doc]:
    query = {"parents": uuid, "uuid": {"$nin": list(excluded)}}
    return list(db.jobs.find(query, {"uuid": 1, "index": 1}, session=session))


def _flow_update(documents: Sequence[Doc], delayed: Sequence[Doc], leaves: Sequence[str]) -> Doc:
    added: Doc = {
        "jobs": {"$each": [document["uuid"] for document in documents]},
        "ids": {"$each": [[document["db_id"], document["uuid"], document["index"]] for document in documents]},
    }
    for child in delayed:
        added[f"parents.{child['uuid']}.{child['index']}"] = {"$each": list(leaves)}
    parents = {f"parents.{document['uuid']}.{document['index']}": document["parents"] for document in documents}
    return {"$addToSet": added, "$set": {**parents, "updated_on": utcnow()}}
