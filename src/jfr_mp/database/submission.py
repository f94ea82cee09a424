"""Adding a flow to the queue database."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pymongo.errors import PyMongoError

from jfr_mp.database.documents import JobOptions, flow_document, job_document
from jfr_mp.database.faults import is_duplicate, is_too_large
from jfr_mp.database.new_jobs import NewJob, missing_references, new_jobs_of
from jfr_mp.errors import NotInitialised, SubmissionError
from jfr_mp.model import is_uuid
from jfr_mp.states import JobState

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
    whole, jobs = valid_flow(flow, allow_external_references)
    return add_jobs(db, whole, jobs, JobOptions(worker, exec_config, resources, priority), jobstore)


def valid_flow(flow: Flow | Job | list[Job], allow_external_references: bool = False) -> tuple[Flow, Sequence[NewJob]]:
    """Return a flow and its jobs, parents before children.

    Raises
    ------
    SubmissionError
        It is not a flow, its jobs depend on each other in a cycle or cannot be serialized, or they refer to outputs of
        jobs outside the flow.
    """
    from jobflow.core.flow import get_flow

    try:
        # Without its check, which serializes all jobs once more.
        whole = get_flow(flow, allow_external_references=True)
        jobs = new_jobs_of(whole)
        missing = missing_references(jobs)
    except (ValueError, TypeError) as error:
        raise SubmissionError(f"the flow cannot be submitted: {error}") from error
    if missing and not allow_external_references:
        raise SubmissionError(
            f"the flow cannot be submitted: it refers to outputs of jobs that are not in it: {', '.join(missing)}; add "
            "these jobs, or set allow_external_references if they were submitted before"
        )
    return whole, jobs


def add_jobs(
    db: QueueDatabase,
    flow: Flow,
    jobs: Sequence[NewJob],
    options: JobOptions,
    jobstore: str | None = None,
) -> list[str]:
    """Insert a valid flow with the jobs that `valid_flow` has returned; otherwise as `add_flow`."""
    _check_identities(flow, [new.job for new in jobs])
    db_ids = new_db_ids(db, len(jobs))
    documents = [job_document(new, db_id, options) for new, db_id in zip(jobs, db_ids, strict=True)]
    _insert(db, flow_document(flow, documents, jobstore), documents)
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
    # The jobs that can be checked out come last: a job may end as soon as it is inserted, and needs its children then.
    ordered = sorted(jobs, key=lambda job: job["state"] == JobState.READY.value)

    def body(session: ClientSession | None) -> None:
        db.flows.insert_one(flow, session=session)
        db.jobs.insert_many(ordered, session=session)

    try:
        db.transaction(body, writes=len(jobs))
    except BaseException as error:  # an interrupt too: nothing of a failed submission is left
        with suppress(PyMongoError):
            _take_back(db, flow, ordered)
        if isinstance(error, PyMongoError) and is_duplicate(error):
            raise SubmissionError(f"flow {flow['uuid']} ({flow['name']}) was already submitted") from error
        if isinstance(error, PyMongoError) and is_too_large(error):
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
