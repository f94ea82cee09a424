"""Adding a flow to the queue database."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pymongo.errors import PyMongoError

from jfr_mp.database.documents import JobOptions, flow_document, job_document, members_of
from jfr_mp.database.faults import is_duplicate, is_too_large
from jfr_mp.errors import NotInitialised, SubmissionError
from jfr_mp.model import is_uuid

if TYPE_CHECKING:
    from jobflow import Flow, Job
    from pymongo.client_session import ClientSession

    from jfr_mp.config import ExecutionConfig
    from jfr_mp.database.connection import Doc, QueueDatabase

#: The maximum number of characters of the uuid of a flow.
_LONGEST_UUID = 100

logger = logging.getLogger(__name__)


def add_flow(  # noqa: PLR0913 - the reference's parameters
    db: QueueDatabase,
    flow: Flow | Job | list[Job],
    *,
    worker: str,
    exec_config: ExecutionConfig | Mapping[str, Any] | str | None = None,
    resources: Any = None,
    priority: int = 0,
    jobstore: str | None = None,
    allow_external_references: bool = False,
) -> list[str]:
    """Insert a flow and all its jobs; on an error nothing is inserted.

    Parameters
    ----------
    flow
        A flow, a job or a list of jobs.
    worker, exec_config, resources, priority
        The defaults for jobs whose own configuration does not set them.
    jobstore
        The name of the optional JobStore for the outputs; None for the project's default.
    allow_external_references
        Whether to accept references to the outputs of jobs outside this flow.

    Returns
    -------
    list of str
        The db_ids of the jobs, parents before children.

    Raises
    ------
    SubmissionError
        The flow was already submitted, refers to unknown jobs, or is too large; nothing was inserted.
    NotInitialised
        The database has not been initialised.
    """
    from jobflow.core.flow import get_flow

    try:
        flow = get_flow(flow, allow_external_references=allow_external_references)
        members = members_of(flow)
    except ValueError as error:
        raise SubmissionError(f"the flow is not valid: {error}") from error
    return add_members(db, flow, members, JobOptions(worker, exec_config, resources, priority), jobstore)


def add_members(
    db: QueueDatabase,
    flow: Flow,
    members: Sequence[tuple[Job, list[str]]],
    options: JobOptions,
    jobstore: str | None = None,
) -> list[str]:
    """Insert a valid flow with the jobs that `members_of` has returned; otherwise as `add_flow`."""
    _check_identities(flow, [job for job, _ in members])
    db_ids = new_db_ids(db, len(members))
    jobs = [job_document(job, parents, db_id, options) for (job, parents), db_id in zip(members, db_ids, strict=True)]
    _insert(db, flow_document(flow, jobs, jobstore), jobs)
    logger.info("added flow %s with %d jobs", flow.uuid, len(jobs))
    return db_ids


def _check_identities(flow: Flow, jobs: Sequence[Job]) -> None:
    """Raise an error for uuids that cannot be those of directories, and for resources that no scheduler understands."""
    if not flow.uuid.isprintable() or len(flow.uuid) > _LONGEST_UUID:
        raise SubmissionError(f"the uuid of the flow, {flow.uuid[:_LONGEST_UUID]!r}, is not valid")
    for job in jobs:
        if not is_uuid(job.uuid):
            raise SubmissionError(
                f"job {job.name!r}: {job.uuid[:_LONGEST_UUID]!r} is not a uuid, and its run directory is named by it"
            )
        resources = job.config.manager_config.get("resources")
        if isinstance(resources, dict) and resources.get("@class", "QResources") != "QResources":
            raise SubmissionError(
                f"job {job.name!r}: resources of the class {str(resources['@class'])[:100]!r} are not supported; use a "
                "dictionary or QResources"
            )


def new_db_ids(db: QueueDatabase, count: int) -> list[str]:
    """Reserve and return db_ids for `count` new jobs; unused ids leave a gap.

    This is deliberately not part of a transaction: all transactions would conflict on this one counter.
    """
    if count == 0:
        return []
    counter = db.auxiliary.find_one_and_update({"next_id": {"$exists": True}}, {"$inc": {"next_id": count}})
    if counter is None:
        raise NotInitialised(
            f"the database {db.db.name} at {db.address} has not been initialised for project {db.project.name}; "
            "run `jfr-mp start`, which initialises it"
        )
    first, prefix = counter["next_id"], db.project.queue.db_id_prefix or ""
    return [f"{prefix}{number}" for number in range(first, first + count)]


def _insert(db: QueueDatabase, flow: Doc, jobs: Sequence[Doc]) -> None:
    def body(session: ClientSession | None) -> None:
        # The flow first: a job may be checked out as soon as it is inserted, and then needs its flow.
        db.flows.insert_one(flow, session=session)
        db.jobs.insert_many(jobs, session=session)

    try:
        db.transaction(body)
    except PyMongoError as error:
        if not db.supports_transactions:
            _take_back(db, flow, jobs)
        if is_duplicate(error):
            raise SubmissionError(f"flow {flow['uuid']} ({flow['name']}) was already submitted") from error
        if is_too_large(error):
            raise SubmissionError(
                f"flow {flow['uuid']} ({flow['name']}): a job is larger than 16 MB, MongoDB's limit for a document; "
                "pass large inputs as references to outputs or files"
            ) from error
        raise


def _take_back(db: QueueDatabase, flow: Doc, jobs: Sequence[Doc]) -> None:
    """Delete the documents that this call inserted, but not those of an earlier submission of the same flow.

    pymongo assigns the `_id` of a document before sending it, so the `_id` identifies the documents of this call.
    """
    db.jobs.delete_many({"_id": {"$in": [job["_id"] for job in jobs if "_id" in job]}})
    if "_id" in flow:
        db.flows.delete_one({"_id": flow["_id"]})
