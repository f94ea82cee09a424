"""The workers that users have paused: their jobs are not begun, on any machine, until the workers are resumed."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from jfr_mp.model import Document

if TYPE_CHECKING:
    from jfr_mp.database.connection import QueueDatabase

#: The least time in seconds between two queries of a process.
_LOOK_EVERY = 1.0


class PausedWorker(Document):
    """A document of the collection.

    Parameters
    ----------
    worker
        Its name; the document's `_id`.
    by
        Who paused it, as ``user@host``.
    since
        When, by the server's clock.
    """

    worker: str
    by: str = ""
    since: datetime | None = None


def pause(db: QueueDatabase, worker: str, by: str) -> bool:
    """Pause a worker; return False if it was paused already."""
    update = {"$setOnInsert": {"by": by, "since": db.server_time()}}
    return db.paused_workers.update_one({"_id": worker}, update, upsert=True).upserted_id is not None


def resume(db: QueueDatabase, worker: str) -> bool:
    """Resume a worker; return False if it was not paused."""
    return bool(db.paused_workers.delete_one({"_id": worker}).deleted_count)


def listed(db: QueueDatabase) -> list[PausedWorker]:
    """Return the workers that are paused, by name."""
    found = []
    for document in db.paused_workers.find().sort("_id", 1):
        by, since = document.get("by"), document.get("since")
        known = since.replace(tzinfo=UTC) if isinstance(since, datetime) else None
        found.append(PausedWorker(worker=str(document["_id"]), by=str(by or "a user"), since=known))
    return found


class PausedWorkers:
    """The names of the paused workers, as a process knows them: not older than a second.

    Parameters
    ----------
    db
        The queue database.
    clock
        Monotonic time in seconds.
    """

    def __init__(self, db: QueueDatabase, clock: Callable[[], float] = time.monotonic) -> None:
        self._db = db
        self._clock = clock
        self._names: Collection[str] = ()
        self._look_due = 0.0

    def names(self) -> Collection[str]:
        """Return the names."""
        if (now := self._clock()) >= self._look_due:
            self._names = tuple(each.worker for each in listed(self._db))
            self._look_due = now + _LOOK_EVERY
        return self._names
