"""The document `running_runner`: which runner works on this database. Its place and format are jobflow-remote's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from jfr_mp.database.locks import MongoLock
from jfr_mp.errors import NotInitialised, RunnerLockedError
from jfr_mp.identity import new_lock_id
from jfr_mp.model import utcnow

if TYPE_CHECKING:
    from jfr_mp.database.connection import Doc, QueueDatabase

#: Selects the document.
RECORD = {"running_runner": {"$exists": True}}

#: Seconds that another process, of jfr-mp or of jobflow-remote, may keep the document locked.
_LOCKED_WITHIN = 5.0

#: As many pings as jobflow-remote keeps.
_KEPT_PINGS = 50


class LockedRunner:
    """The document while this process holds its lock.

    Parameters
    ----------
    lock
        The lock, which was acquired.
    content
        What the document says: the runner, or None if there is none.
    """

    def __init__(self, lock: MongoLock, content: Doc | None) -> None:
        self._lock = lock
        self.content = content

    def write(self, content: Mapping[str, Any] | None) -> None:
        """Replace the content when the lock is released."""
        self._lock.update_on_release = {"$set": {"running_runner": content}}


@contextmanager
def locked(db: QueueDatabase, owner: str) -> Iterator[LockedRunner]:
    """Lock the document within a `with` block.

    Raises
    ------
    RunnerLockedError
        If another process keeps it locked.
    NotInitialised
        If there is no such document.
    """
    with MongoLock(db.auxiliary, RECORD, lock_id=new_lock_id(owner), sleep=0.05, max_wait=_LOCKED_WITHIN) as lock:
        yield LockedRunner(lock, _content(lock))


def _content(lock: MongoLock) -> Doc | None:
    if lock.locked_document is not None:
        runner: Doc | None = lock.locked_document["running_runner"]
        return runner
    if lock.unavailable_document is None:
        raise NotInitialised("the database was never prepared: it has no document of the running runner")
    raise RunnerLockedError(
        f"the document of the running runner has been locked by {lock.unavailable_document['lock_id']} since "
        f"{lock.unavailable_document.get('lock_time')} UTC; if that process has died: jfr-mp admin unlock-runner"
    )


def read(db: QueueDatabase) -> Doc | None:
    """Return the runner that works on this database, jobflow-remote's daemon or jfr-mp's masters, or None."""
    document = db.auxiliary.find_one(RECORD)
    return document["running_runner"] if document else None


def ping(db: QueueDatabase, data: Mapping[str, Any]) -> bool:
    """Record that the runner is alive, in both places where jobflow-remote looks for it.

    Returns
    -------
    bool
        Whether the database has a record of a running runner.
    """
    now = utcnow()
    known = db.auxiliary.update_one(
        {"running_runner.last_pinged": {"$exists": True}}, {"$set": {"running_runner.last_pinged": now}}
    )
    entry = {**data, "time": now}
    db.auxiliary.update_one(
        {"runner_pings": {"$exists": True}},
        {"$push": {"runner_pings": {"$each": [entry], "$slice": -_KEPT_PINGS}}},
        upsert=True,
    )
    return known.matched_count > 0


def pings(db: QueueDatabase) -> list[Doc]:
    """Return the last pings of runners, the oldest first."""
    document = db.auxiliary.find_one({"runner_pings": {"$exists": True}})
    return list(document["runner_pings"]) if document else []


def forget_pings(db: QueueDatabase) -> None:
    """Remove all pings of runners."""
    db.auxiliary.update_one({"runner_pings": {"$exists": True}}, {"$set": {"runner_pings": []}})


def unlock(db: QueueDatabase) -> tuple[int, int]:
    """Break the lock of the document; return how many documents there are, and how many were locked."""
    found = db.auxiliary.count_documents(RECORD)
    locked_ones = {**RECORD, "lock_id": {"$ne": None}}
    done = db.auxiliary.update_many(locked_ones, {"$set": {"lock_id": None, "lock_time": None}})
    return found, done.modified_count


def forget(db: QueueDatabase, owner: str, *, break_lock: bool = False) -> None:
    """Remove the runner from the document, after a daemon that was killed.

    Raises
    ------
    RunnerLockedError
        Another process keeps the document locked, and `break_lock` is not given.
    """
    if break_lock:
        unlock(db)
    with locked(db, owner) as runner:
        runner.write(None)
