"""Adding a flow to the queue database."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pymongo.errors import PyMongoError

from jfr_mp.database.documents import JobOptions, flow_document, job_document, members_of
from jfr_mp.database.faults import is_duplicate, is_too_large
from jfr_mp.errors import NotInitialised, SubmissionError

if TYPE_CHECKING:
    from jobflow import Flow, Job
    from pymongo.client_session import ClientSession

    from jfr_mp.config import ExecutionConfig
    from jfr_mp.database.connection import Doc, QueueDatabase

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
    """Insert a flow and its jobs: all of it or nothing.

    Parameters
    ----------
    flow
        A flow, a job or a list of jobs.
    worker, exec_config, resources, priority
        For all jobs whose own configuration does not say otherwise.
    jobstore
        The name of the optional JobStore for the outputs; None is the project's default.
    allow_external_references
        Accept references to the output of jobs outside this flow.

    Returns
    -------
    list of str
        The db_ids of the jobs, parents before children.

    Raises
    ------
    SubmissionError
        When the flow was submitted before, refers to unknown jobs or is too large; nothing was inserted.
    NotInitialised
        When the database was never prepared.
    """
    from jobflow.core.flow import get_flow

    try:
        flow = get_flow(flow, allow_external_references=allow_external_references)
        members = members_of(flow)
    except ValueError as error:
        raise SubmissionError(f"the flow is not valid: {error}") from error
    options = JobOptions(worker, exec_config, resources, priority)
    db_ids = new_db_ids(db, len(members))
    jobs = [job_document(job, parents, db_id, options) for (job, parents), db_id in zip(members, db_ids, strict=True)]
    _insert(db, flow_document(flow, jobs, jobstore), jobs)
    logger.info("added flow %s with %d jobs", flow.uuid, len(jobs))
    return db_ids


def new_db_ids(db: QueueDatabase, count: int) -> list[str]:
    """Reserve db_ids for `count` new jobs; those that end up unused leave a gap.

    It stays outside of transactions on purpose: all would meet in this one counter.
    """
    if count == 0:
        return []
    counter = db.auxiliary.find_one_and_update({"next_id": {"$exists": True}}, {"$inc": {"next_id": count}})
    if counter is None:
        raise NotInitialised(
            f"the database {db.db.name} at {db.address} was never prepared for project {db.project.name}: "
            "`jfr-mp start` prepares it"
        )
    first, prefix = counter["next_id"], db.project.queue.db_id_prefix or ""
    return [f"{prefix}{number}" for number in range(first, first + count)]


def _insert(db: QueueDatabase, flow: Doc, jobs: Sequence[Doc]) -> None:
    def body(session: ClientSession | None) -> None:
        # The flow goes first: a job may be checked out the moment it is there, and looks for its flow.
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
                f"flow {flow['uuid']} ({flow['name']}): a job is over 16 MB, MongoDB's limit for a document"
            ) from error
        raise


def _take_back(db: QueueDatabase, flow: Doc, jobs: Sequence[Doc]) -> None:
    """Delete what this insertion has inserted, and nothing of an earlier submission of the same flow.

    pymongo gives a document its `_id` before it is sent; so the `_id` tells ours from the earlier one.
    """
    db.jobs.delete_many({"_id": {"$in": [job["_id"] for job in jobs if "_id" in job]}})
    if "_id" in flow:
        db.flows.delete_one({"_id": flow["_id"]})
