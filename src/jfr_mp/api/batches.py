"""Methods of `JobController` about the batches of batch workers, with jobflow-remote's parameters."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from jfr_mp.api.access import ProjectAccess
from jfr_mp.database import batches
from jfr_mp.database.batches import BatchDoc, BatchFilter
from jfr_mp.errors import NotFound
from jfr_mp.model import utcnow
from jfr_mp.states import BatchState

_Texts = str | list[str] | None
_States = BatchState | list[BatchState] | None
_JobIds = tuple[str, int] | list[tuple[str, int]] | None


def get_batches(  # noqa: PLR0913, PLR0917 - the reference's signature
    self: ProjectAccess,
    process_id: _Texts = None,
    batch_uid: _Texts = None,
    worker: _Texts = None,
    batch_state: _States = None,
    job_ids: _JobIds = None,
    db_ids: _Texts = None,
    limit: int = 20,
    sort: Any = None,
) -> list[BatchDoc]:
    """Return the batches that satisfy all conditions, the last updated first; a limit of 0 is none."""
    wanted = _filter(process_id, batch_uid, worker, batch_state, job_ids, db_ids)
    return batches.find_batches(self.db, wanted, limit=limit, sort=[(sort, 1)] if isinstance(sort, str) else sort)


def count_batches(  # noqa: PLR0913, PLR0917 - the reference's signature
    self: ProjectAccess,
    process_id: _Texts = None,
    batch_uid: _Texts = None,
    worker: _Texts = None,
    batch_state: _States = None,
    job_ids: _JobIds = None,
    db_ids: _Texts = None,
) -> int:
    """Return the number of batches that satisfy all conditions."""
    return batches.count_batches(self.db, _filter(process_id, batch_uid, worker, batch_state, job_ids, db_ids))


def delete_batches(
    self: ProjectAccess,
    process_id: _Texts = None,
    batch_uid: _Texts = None,
    worker: _Texts = None,
    batch_state: _States = None,
) -> int:
    """Delete the documents of batches and return their number; jobs and scheduler jobs are not touched."""
    return batches.delete_batches(self.db, _filter(process_id, batch_uid, worker, batch_state))


def get_batch_process_id(self: ProjectAccess, batch_uid: str) -> tuple[str, str]:
    """Return the scheduler's id and the worker of a batch.

    Raises
    ------
    NotFound
        There is no such batch.
    """
    batch = _batch(self, batch_uid)
    return batch.process_id, batch.worker


def add_batch_process(self: ProjectAccess, process_id: str, batch_uid: str, worker: str) -> dict[str, Any]:
    """Record a batch that was submitted, unless it is recorded, and return its document.

    Parameters
    ----------
    process_id
        The scheduler's id.
    batch_uid, worker
        The batch and its worker.
    """
    batches.record_batch(self.db, batch_uid, process_id, worker)
    return _document(self, batch_uid)


def set_running_batch_process(
    self: ProjectAccess, batch_uid: str, start_time: datetime | None = None
) -> dict[str, Any]:
    """Record that a batch is running since a time (None for now), unless that is known; return its document."""
    batch = _batch(self, batch_uid)
    if batch.start_time is None:
        news = {"batch_state": BatchState.RUNNING, "start_time": start_time or utcnow()}
        batches.update_batch(self.db, batch, news)
    return _document(self, batch_uid)


def set_finished_batch_process(self: ProjectAccess, batch_uid: str, end_time: datetime | None = None) -> dict[str, Any]:
    """Record that a batch has ended at a time (None for now), and return its document."""
    news = {"batch_state": BatchState.FINISHED, "end_time": end_time or utcnow()}
    batches.update_batch(self.db, _batch(self, batch_uid), news)
    return _document(self, batch_uid)


def update_job_in_batch(self: ProjectAccess, job_id: str, job_index: int, batch_uid: str, db_id: str) -> None:
    """Record that a job runs, or ran, in a batch."""
    batches.note_job(self.db, batch_uid, (db_id, job_id, job_index))


def fix_batch_doc_jobs(self: ProjectAccess) -> int:
    """Repair batches whose list of jobs is an object, as early versions of jobflow-remote stored it.

    Returns
    -------
    int
        The number of batches that were repaired.
    """
    return batches.repair_job_lists(self.db)


def _batch(self: ProjectAccess, batch_uid: str) -> BatchDoc:
    found = get_batches(self, batch_uid=batch_uid)
    if not found:
        raise NotFound(f"there is no batch {batch_uid}; see `jfr-mp batch list`")
    return found[0]


def _document(self: ProjectAccess, batch_uid: str) -> dict[str, Any]:
    return _batch(self, batch_uid).model_dump()


def _filter(
    process_id: _Texts,
    batch_uid: _Texts,
    worker: _Texts,
    state: _States,
    job_ids: _JobIds = None,
    db_ids: _Texts = None,
) -> BatchFilter:
    pairs: Any = [job_ids] if job_ids and isinstance(job_ids[0], str) else job_ids
    return BatchFilter(_list(process_id), _list(batch_uid), _list(worker), _list(state), pairs or (), _list(db_ids))


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]
