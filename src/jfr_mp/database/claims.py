"""Claims: locking jobs for one step. The outcomes of the step are written by `jfr_mp.database.commits`."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from pydantic import ValidationError
from pymongo import ASCENDING, DESCENDING, ReturnDocument

from jfr_mp.database.doubtful_locks import free_doubtful_locks, in_doubt
from jfr_mp.database.faults import TRANSIENT, what_is_wrong
from jfr_mp.database.filters import JobFilter
from jfr_mp.database.locks import UNLOCKED, MongoLock
from jfr_mp.errors import LeaseLost
from jfr_mp.identity import new_lock_id
from jfr_mp.model import JobDoc
from jfr_mp.states import JobState
from jfr_mp.step_table import Step

if TYPE_CHECKING:
    from jfr_mp.database.connection import Doc, QueueDatabase

logger = logging.getLogger(__name__)

#: By priority, then by age. An index serves this order, so that it is fast for any number of jobs.
ORDER = (("priority", DESCENDING), ("created_on", ASCENDING))

#: The inputs of a job may be megabytes, and only few steps need them.
WITHOUT_INPUTS = {"job.function_args": 0, "job.function_kwargs": 0}

#: Attempts to lock several jobs at once while other processes compete for them.
_GRABS = 3


@dataclass
class Claim:
    """A job that this process has locked for one step.

    Parameters
    ----------
    id
        The `_id` of its document.
    job
        The job as it was when it was locked, usually without its inputs.
    lock_id
        The id of the lock, which names this process.
    document
        The document as read from MongoDB.
    held
        Whether the lock still has to be released.
    """

    id: Any
    job: JobDoc
    lock_id: str
    document: Mapping[str, Any] = field(repr=False, compare=False)
    held: bool = field(default=True, compare=False)

    @classmethod
    def of_document(cls, document: Mapping[str, Any], lock_id: str) -> Self:
        """Return the claim on a document that is already locked.

        Raises
        ------
        pydantic.ValidationError
            The document is not a valid job document.
        """
        fields = {key: value for key, value in document.items() if key != "_id"}
        return cls(document["_id"], JobDoc.model_validate(fields), lock_id, document)

    @property
    def fence(self) -> Doc:
        """The query that matches the document only as long as the lease holds."""
        return {"_id": self.id, "lock_id": self.lock_id, "state": self.job.state.value}

    def lost(self) -> LeaseLost:
        """Return the error to raise if the lease was lost."""
        return LeaseLost(f"the lock {self.lock_id} on job {self.job.db_id} was lost; nothing was written")


def claim_query(db: QueueDatabase, step: Step, jobs: JobFilter) -> Doc:
    """Return the query for the jobs that a step can claim now.

    Parameters
    ----------
    jobs
        Further conditions. A condition on the state narrows the states of the step.
    """
    states = [state.value for state in step.sources]
    conditions: Doc = {
        "state": states[0] if len(states) == 1 else {"$in": states},
        "lock_id": None,
        "remote.retry_time_limit": {"$not": {"$gt": db.now()}},
    }
    further = jobs.query(db)
    return {"$and": [conditions, further]} if further else conditions


@contextmanager
def claim(
    db: QueueDatabase,
    step: Step,
    owner: str,
    jobs: JobFilter | None = None,
    *,
    limit: int = 1,
    sort: Sequence[tuple[str, int]] = ORDER,
) -> Iterator[list[Claim]]:
    """Lock the next jobs for a step.

    Parameters
    ----------
    owner
        The identity of the claiming process, which the locks name.
    jobs
        The jobs to choose from; None for all. See `claim_query`.
    limit
        The maximum number of jobs.
    sort
        The order in which jobs are claimed.

    Yields
    ------
    list of Claim
        At most `limit` claims, in order. On leaving, claims that were neither committed nor released are released.
    """
    lock_id = new_lock_id(owner)
    free_doubtful_locks(db)
    claims: list[Claim] = []
    with in_doubt(db, lock_id):
        try:
            while documents := _locked(db, step, jobs or JobFilter(), lock_id, limit, sort):
                if claims := list(_claims(db, documents, lock_id)):
                    break
            yield claims
        except TRANSIENT:
            claims.clear()  # they cannot be released now
            raise
        finally:
            for each in claims:
                release(db, each)


def _locked(
    db: QueueDatabase, step: Step, jobs: JobFilter, lock_id: str, limit: int, sort: Sequence[tuple[str, int]]
) -> list[Doc]:
    """Lock the next jobs and return their documents."""
    query, order = claim_query(db, step, jobs), list(sort)
    projection = None if step.inputs else WITHOUT_INPUTS
    update: Doc = {"$set": {"lock_id": lock_id}, "$currentDate": {"lock_time": True}}
    if limit == 1:
        found = db.jobs.find_one_and_update(
            query, update, projection=projection, sort=order, return_document=ReturnDocument.AFTER
        )
        return [] if found is None else [found]
    for _ in range(_GRABS):
        ids = [job["_id"] for job in db.jobs.find(query, {"_id": 1}, sort=order, limit=limit)]
        # Another process may have locked some of them since; the query matches only jobs that are still free.
        match ids:
            case []:
                return []
            case [only]:
                found = db.jobs.find_one_and_update(
                    {**query, "_id": only}, update, projection=projection, return_document=ReturnDocument.AFTER
                )
                if found is not None:
                    return [found]
            case _:
                if db.jobs.update_many({**query, "_id": {"$in": ids}}, update).modified_count:
                    return list(db.jobs.find({"_id": {"$in": ids}, "lock_id": lock_id}, projection, sort=order))
    return []


def _claims(db: QueueDatabase, documents: Sequence[Doc], lock_id: str) -> Iterator[Claim]:
    for document in documents:
        try:
            yield Claim.of_document(document, lock_id)
        except ValidationError as error:
            _set_aside(db, document, lock_id, error)


def _set_aside(db: QueueDatabase, document: Doc, lock_id: str, error: ValidationError) -> None:
    """Move a job with a damaged document to REMOTE_ERROR, because no step can process it."""
    why = f"the document of the job is damaged ({what_is_wrong(error)}); delete the job or repair the document"
    logger.error("job %s: %s", document.get("db_id"), why)
    remote = {"remote.error": why} if isinstance(document.get("remote"), dict) else {"remote": {"error": why}}
    fields = {"state": JobState.REMOTE_ERROR.value, "previous_state": document["state"], **remote}
    db.jobs.update_one({"_id": document["_id"], "lock_id": lock_id}, {"$set": {**fields, **UNLOCKED}})


def claim_of_lock(lock: MongoLock) -> Claim:
    """Return the claim on the job that a `MongoLock` holds.

    Raises
    ------
    ValueError
        The lock does not hold a job.
    """
    if lock.locked_document is None:
        raise ValueError("the lock does not hold a job")
    return Claim.of_document(lock.locked_document, lock.lock_id)


def release(db: QueueDatabase, claim: Claim) -> None:
    """Release a claimed job unchanged; do nothing if it was committed or the lock was lost."""
    if claim.held:
        db.jobs.update_one({"_id": claim.id, "lock_id": claim.lock_id}, {"$set": dict(UNLOCKED)})
        claim.held = False
