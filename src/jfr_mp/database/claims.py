"""Claims: taking jobs for one step. What a step makes of them is written by `jfr_mp.database.commits`."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from pydantic import ValidationError
from pymongo import ASCENDING, DESCENDING, ReturnDocument

from jfr_mp.database.faults import TRANSIENT
from jfr_mp.database.filters import JobFilter
from jfr_mp.database.locks import UNLOCKED, MongoLock
from jfr_mp.errors import LeaseLost
from jfr_mp.identity import new_lock_id
from jfr_mp.model import JobDoc, utcnow
from jfr_mp.states import JobState
from jfr_mp.step_table import Step

if TYPE_CHECKING:
    from jfr_mp.database.connection import Doc, QueueDatabase

logger = logging.getLogger(__name__)

#: The more urgent first, then the older: served by an index, whatever the number of jobs.
ORDER = (("priority", DESCENDING), ("created_on", ASCENDING))

#: The inputs of a job may be megabytes, and few steps need them.
WITHOUT_INPUTS = {"job.function_args": 0, "job.function_kwargs": 0}

#: Attempts to lock some jobs together while other processes take the same ones.
_GRABS = 3


@dataclass
class Claim:
    """A job that this process has locked for one step.

    Parameters
    ----------
    id
        The `_id` of its document.
    job
        The job as it was when it was locked, mostly without its inputs.
    lock_id
        The lock, which names this process.
    document
        The same as MongoDB has it.
    held
        Whether the lock is still to be released.
    """

    id: Any
    job: JobDoc
    lock_id: str
    document: Mapping[str, Any] = field(repr=False, compare=False)
    held: bool = field(default=True, compare=False)

    @classmethod
    def of_document(cls, document: Mapping[str, Any], lock_id: str) -> Self:
        """Make a claim of a document that is locked.

        Raises
        ------
        pydantic.ValidationError
            The document is not that of a job.
        """
        fields = {key: value for key, value in document.items() if key != "_id"}
        return cls(document["_id"], JobDoc.model_validate(fields), lock_id, document)

    @property
    def fence(self) -> Doc:
        """The query that finds the document as long as the lease holds."""
        return {"_id": self.id, "lock_id": self.lock_id, "state": self.job.state.value}

    def lost(self) -> LeaseLost:
        """Return the error for a lease that was lost."""
        return LeaseLost(f"the lock {self.lock_id} on job {self.job.db_id} was lost; nothing was written")


def claim_query(db: QueueDatabase, step: Step, jobs: JobFilter) -> Doc:
    """Return the query for the jobs that a step can take now.

    Parameters
    ----------
    jobs
        Further conditions; those on the state narrow the step's own.
    """
    states = [state.value for state in step.sources]
    conditions: Doc = {
        "state": states[0] if len(states) == 1 else {"$in": states},
        "lock_id": None,
        "remote.retry_time_limit": {"$not": {"$gt": utcnow()}},
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
        The process that claims; the locks name it.
    jobs
        Which jobs; None for all. See `claim_query`.
    limit
        The most jobs to lock.
    sort
        Another order than `ORDER`.

    Yields
    ------
    list of Claim
        At most `limit`, in order. A job that is neither committed nor released on leaving is released unchanged.
    """
    lock_id = new_lock_id(owner)
    _free_doubtful_locks(db)
    claims: list[Claim] = []
    try:
        while documents := _locked(db, step, jobs or JobFilter(), lock_id, limit, sort):
            if claims := list(_claims(db, documents, lock_id)):
                break
        yield claims
    except TRANSIENT:
        # A job may be locked without our knowing it, and no other process frees the lock of an owner that lives.
        db.doubtful_locks.add(lock_id)
        claims.clear()
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
        if not ids:
            return []
        # Another process may have taken some of them since: the first condition finds only those that are still free.
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
    """Bring a job whose document is damaged into REMOTE_ERROR: no step can work with it."""
    wrong = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
    why = f"the document of the job is damaged ({wrong}); delete the job or repair the document"
    logger.error("job %s: %s", document.get("db_id"), why)
    remote = {"remote.error": why} if isinstance(document.get("remote"), dict) else {"remote": {"error": why}}
    fields = {"state": JobState.REMOTE_ERROR.value, "previous_state": document["state"], **remote}
    db.jobs.update_one({"_id": document["_id"], "lock_id": lock_id}, {"$set": {**fields, **UNLOCKED}})


def _free_doubtful_locks(db: QueueDatabase) -> None:
    for lock_id in tuple(db.doubtful_locks):
        db.jobs.update_many({"lock_id": lock_id}, {"$set": dict(UNLOCKED)})
        db.doubtful_locks.discard(lock_id)


def claim_of_lock(lock: MongoLock) -> Claim:
    """Return the claim on the job that a lock of jobflow-remote's interface holds.

    Raises
    ------
    ValueError
        The lock holds no job.
    """
    if lock.locked_document is None:
        raise ValueError("the lock holds no job")
    return Claim.of_document(lock.locked_document, lock.lock_id)


def release(db: QueueDatabase, claim: Claim) -> None:
    """Give a claimed job back as it was; one that was taken away or committed is let go."""
    if claim.held:
        db.jobs.update_one({"_id": claim.id, "lock_id": claim.lock_id}, {"$set": dict(UNLOCKED)})
        claim.held = False
