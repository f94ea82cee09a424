"""The batches of batch workers: jobflow-remote's documents, and the record of planned batches.

A batch is recorded before it is submitted. If the process dies in between, the next one finds the planned batch and
submits the same one. A process can add to the record only if it has seen the current content: two processes that both
believe that they are the only one cannot submit more batches than the worker allows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from pydantic import Field, ValidationError
from pymongo.errors import DuplicateKeyError

from jfr_mp.database.field_types import texts
from jfr_mp.errors import LeaseLost
from jfr_mp.model import Document, utcnow
from jfr_mp.states import BatchState, JobState

if TYPE_CHECKING:
    from jfr_mp.database.connection import Doc, QueueDatabase

_LIVING = [BatchState.SUBMITTED.value, BatchState.RUNNING.value]
_BATCH_STATES = [JobState.BATCH_SUBMITTED.value, JobState.BATCH_RUNNING.value]


class BatchDoc(Document):
    """A document of the batches collection.

    `process_id` is the scheduler's id of the batch; `jobs` holds (db_id, uuid, index) of each job that ran in it.
    """

    batch_uid: str
    process_id: str
    batch_state: BatchState
    worker: str
    jobs: list[Any] = Field(default_factory=list)
    created_on: datetime = Field(default_factory=utcnow)
    updated_on: datetime = Field(default_factory=utcnow)
    start_time: datetime | None = None
    end_time: datetime | None = None
    last_ping_time: datetime | None = None

    def as_db_dict(self) -> Doc:
        """Return the document as MongoDB stores it."""
        return {**self.model_dump(mode="python"), "batch_state": self.batch_state.value}


def busy_workers(db: QueueDatabase) -> set[str]:
    """Return the batch workers that have jobs in their pool, or batches that have not ended."""
    found = [
        *db.jobs.distinct("worker", {"state": {"$in": _BATCH_STATES}}),
        *db.batches.distinct("worker", {"batch_state": {"$in": _LIVING}}),
        *db.auxiliary.distinct("worker", {"planned_batches.0": {"$exists": True}}),
    ]
    return set(texts(found))


def living_batches(db: QueueDatabase, worker: str) -> list[BatchDoc]:
    """Return the batches of a worker that have not ended, oldest first; a damaged one hides none of the others."""
    found = db.batches.find({"worker": worker, "batch_state": {"$in": _LIVING}}).sort("created_on", 1)
    batches = []
    for document in found:
        with suppress(ValidationError):
            batches.append(BatchDoc.model_validate(document))
    return batches


def batches_live(db: QueueDatabase) -> bool:
    """Return whether any batch of any worker has not ended."""
    return db.batches.find_one({"batch_state": {"$in": _LIVING}}, {"_id": 1}) is not None


def ended_batches(db: QueueDatabase, batch_uids: Collection[str]) -> set[str]:
    """Return the batches, among the given ones, that have ended."""
    query = {"batch_uid": {"$in": list(batch_uids)}, "batch_state": BatchState.FINISHED.value}
    return set(texts(db.batches.distinct("batch_uid", query))) if batch_uids else set()


def jobs_waiting(db: QueueDatabase, worker: str) -> int:
    """Return the number of jobs in the pool of a worker that no batch has taken as far as the database knows."""
    return db.jobs.count_documents({"worker": worker, "state": JobState.BATCH_SUBMITTED.value})


def explain_waiting(db: QueueDatabase, worker: str, why: str) -> None:
    """Store, on the jobs that wait in the pool of a worker, the reason why they wait."""
    query = {"worker": worker, "state": JobState.BATCH_SUBMITTED.value, "lock_id": None}
    db.jobs.update_many(query, {"$set": {"remote.error": why}})


def update_batch(db: QueueDatabase, batch: BatchDoc, fields: Mapping[str, Any]) -> None:
    """Write the fields of a batch that have changed."""
    news = {
        key: value.value if isinstance(value, BatchState) else value
        for key, value in fields.items()
        if value != getattr(batch, key)
    }
    if news:
        db.batches.update_one({"batch_uid": batch.batch_uid}, {"$set": {**news, "updated_on": utcnow()}})


def record_batch(db: QueueDatabase, batch_uid: str, process_id: str, worker: str) -> None:
    """Insert the document of a submitted batch, unless there is one."""
    batch = BatchDoc(batch_uid=batch_uid, process_id=process_id, batch_state=BatchState.SUBMITTED, worker=worker)
    db.batches.update_one({"batch_uid": batch_uid}, {"$setOnInsert": batch.as_db_dict()}, upsert=True)


def repair_job_lists(db: QueueDatabase) -> int:
    """Replace lists of jobs that early versions of jobflow-remote stored as an object; return how many there were."""
    return db.batches.update_many({"jobs": {"$type": "object"}}, {"$set": {"jobs": []}}).modified_count


def note_job(db: QueueDatabase, batch_uid: str, job: Sequence[Any]) -> None:
    """Record that a job, given as (db_id, uuid, index), ran in a batch."""
    db.batches.update_one(
        {"batch_uid": batch_uid}, {"$addToSet": {"jobs": list(job)}, "$set": {"updated_on": utcnow()}}
    )


class PlannedBatches:
    """The planned batches of one worker, as they were when this object was created.

    Parameters
    ----------
    db
        The queue database.
    worker
        The worker.
    """

    def __init__(self, db: QueueDatabase, worker: str) -> None:
        self._db = db
        self._worker = worker
        self._id = f"jfr_mp_batches/{worker}"
        page: Doc = {"_id": self._id, "worker": self._worker, "planned_batches": [], "entries": 0}
        found = self._db.auxiliary.find_one({"_id": self._id})
        if found is None:
            # Another process may insert it at the same moment. Then either nothing is planned, or `add` raises.
            with suppress(DuplicateKeyError):
                self._db.auxiliary.insert_one(page)
        self._entries: int = (found or page)["entries"]
        #: The batches that were planned and are not known to be submitted.
        self.uids: tuple[str, ...] = tuple((found or page)["planned_batches"])

    def plan(self, number: int) -> Iterator[str]:
        """Yield the ids of new batches, each recorded before it is yielded.

        Raises
        ------
        LeaseLost
            Another process has recorded a batch since, so that this object is out of date.
        """
        for _ in range(number):
            batch_uid = str(uuid4())
            seen = {"_id": self._id, "entries": self._entries}
            update = {"$push": {"planned_batches": batch_uid}, "$inc": {"entries": 1}}
            if not self._db.auxiliary.update_one(seen, update).matched_count:
                raise LeaseLost(f"another process submits batches for worker {self._worker!r}")
            self._entries += 1
            yield batch_uid

    def submitted(self, batch_uid: str, process_id: str) -> None:
        """Replace the entry of a batch that was submitted by its document."""
        record_batch(self._db, batch_uid, process_id, self._worker)
        # Last, so that the batch is in at least one place at any time. Being counted twice does no harm.
        self.strike_out(batch_uid)

    def strike_out(self, batch_uid: str) -> None:
        """Remove the entry of a batch that the scheduler refused, or that has a document now."""
        self._db.auxiliary.update_one({"_id": self._id}, {"$pull": {"planned_batches": batch_uid}})


def markers_needed(db: QueueDatabase, uuids: Collection[str]) -> set[tuple[str, int]]:
    """Return the jobs, among the given ones, that still need their markers in the pool.

    An UPLOADED job may have a marker: a process put it into the pool and died, or has not written its new state yet.
    """
    query = {"uuid": {"$in": list(uuids)}, "state": {"$in": [*_BATCH_STATES, JobState.UPLOADED.value]}}
    return {(job["uuid"], job["index"]) for job in db.jobs.find(query, {"uuid": 1, "index": 1})}


@dataclass(frozen=True)
class BatchFilter:
    """The batches that satisfy all conditions; an empty filter selects every batch.

    Parameters
    ----------
    process_ids, batch_uids, workers, states
        What the documents contain.
    job_ids, db_ids
        Jobs, by uuid and index or by db_id, of which at least one ran in the batch.
    """

    process_ids: Collection[str] = ()
    batch_uids: Collection[str] = ()
    workers: Collection[str] = ()
    states: Collection[BatchState] = ()
    job_ids: Collection[tuple[str, int]] = ()
    db_ids: Collection[str] = ()

    @property
    def is_empty(self) -> bool:
        """Whether it selects every batch."""
        return not any(vars(self).values())

    def query(self) -> Doc:
        """Return the query that finds them."""
        listed = {
            "process_id": self.process_ids,
            "batch_uid": self.batch_uids,
            "worker": self.workers,
            "batch_state": [state.value for state in self.states],
        }
        query: Doc = {name: {"$in": list(values)} for name, values in listed.items() if values}
        # A job in a batch is the array (db_id, uuid, index).
        jobs = [
            *({"jobs": {"$elemMatch": {"1": uuid, "2": index}}} for uuid, index in self.job_ids),
            *({"jobs": {"$elemMatch": {"0": db_id}}} for db_id in self.db_ids),
        ]
        return {**query, "$or": jobs} if jobs else query


def find_batches(
    db: QueueDatabase, batches: BatchFilter, *, limit: int = 0, sort: Sequence[tuple[str, int]] | None = None
) -> list[BatchDoc]:
    """Return batches, by default the last updated first; 0 is no limit."""
    order = list(sort or [("updated_on", -1), ("process_id", 1)])
    found = db.batches.find(batches.query()).sort(order).limit(limit)
    return [BatchDoc.model_validate(document) for document in found]


def count_batches(db: QueueDatabase, batches: BatchFilter) -> int:
    """Return the number of batches."""
    return db.batches.count_documents(batches.query())


def delete_batches(db: QueueDatabase, batches: BatchFilter) -> int:
    """Delete the documents of batches and return their number; jobs and scheduler jobs are not touched."""
    return db.batches.delete_many(batches.query()).deleted_count
