"""Burying the dead: the locks and leases of processes that are not heard of any more, and locks that nobody holds."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from jfr_mp.database import processes
from jfr_mp.database.locks import UNLOCKED
from jfr_mp.database.processes import seconds_ago
from jfr_mp.identity import LOCK_PREFIX, owner_of_lock

if TYPE_CHECKING:
    from pymongo.collection import Collection

    from jfr_mp.database.connection import Doc, QueueDatabase

logger = logging.getLogger(__name__)

_OURS = {"$regex": f"^{LOCK_PREFIX}"}


@dataclass(frozen=True)
class StaleLock:
    """A lock whose holder will not come back.

    Parameters
    ----------
    collection, id
        The document.
    lock_id, lock_time
        The lock.
    why
        Why it is stale.
    """

    collection: str
    id: Any
    lock_id: str
    lock_time: datetime
    why: str


class Rescuer:
    """Frees what the dead have left, as seen by one process; to be called every few seconds.

    While the database is away nobody's heart seems to beat. So nothing is swept before this process has had its answers
    for a whole lease: time enough for everybody else to be heard of again.

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
        options = db.project.jfr_mp
        self._lease_ttl = options.lease_ttl
        #: A longer time between two answers means that the database was away, or this process.
        self._longest_silence = options.lease_ttl / 2 + options.heartbeat_interval
        self._contact_since: float | None = None
        self._last_contact = 0.0
        self._locks_due = 0.0

    def sweep(self) -> None:
        """Bury the processes whose lease has run out, and now and then break the locks that nobody holds."""
        # Where the next line raises, the contact is interrupted.
        since, self._contact_since = self._contact_since, None
        dead = processes.expired(self._db, self._lease_ttl)
        now = self._clock()
        silent = now - self._last_contact > self._longest_silence
        self._contact_since, self._last_contact = now if since is None or silent else since, now
        if now - self._contact_since < self._lease_ttl:
            return
        for record in dead:
            processes.bury(self._db, record.id, f"not heard of for {self._lease_ttl:g} s")
        if now >= self._locks_due:
            self._locks_due = now + self._lease_ttl
            free_stale_locks(self._db, stale_locks(self._db))


def stale_locks(db: QueueDatabase, *, foreign_too: bool = False) -> list[StaleLock]:
    """Return the locks that may be broken; all ages are by the server's clock.

    A lock of ours is stale when its owner's lease has run out or when nobody knows its owner and it is older than a
    lease. One of jobflow-remote, which names no owner, is stale after the project's `lock_timeout`.

    Parameters
    ----------
    foreign_too
        Count all locks of jobflow-remote as stale; for somebody who knows that nothing of it runs.
    """
    options, lock_timeout = db.project.jfr_mp, db.project.runner.lock_timeout
    living = {record.id for record in processes.living(db, options.lease_ttl)}
    found: list[StaleLock] = []
    for collection in (db.jobs, db.flows, db.auxiliary):
        for stale in _older_than(collection, options.lease_ttl, _OURS, "its process is gone"):
            if owner_of_lock(stale.lock_id) not in living:
                found.append(stale)
        if foreign_too:
            found += _older_than(collection, 0, {"$not": _OURS}, "not one of ours")
        elif lock_timeout is not None:
            why = f"older than the lock_timeout of {lock_timeout:g} s"
            found += _older_than(collection, lock_timeout, {"$not": _OURS}, why)
    return found


def free_stale_locks(db: QueueDatabase, locks: Sequence[StaleLock]) -> None:
    """Break locks, each only if it is still the one that was found."""
    for lock in locks:
        result = db.db[lock.collection].update_one(
            {"_id": lock.id, "lock_id": lock.lock_id, "lock_time": lock.lock_time}, {"$set": dict(UNLOCKED)}
        )
        if result.modified_count:
            logger.warning("broke the lock %s on %s %s: %s", lock.lock_id, lock.collection, lock.id, lock.why)


def _older_than(collection: Collection[Doc], seconds: float, lock_id: Doc, why: str) -> Iterator[StaleLock]:
    query = {
        "lock_id": {"$type": "string", **lock_id},
        "lock_time": {"$type": "date"},
        "$expr": {"$lte": ["$lock_time", seconds_ago(seconds)]},
    }
    for document in collection.find(query, {"lock_id": 1, "lock_time": 1}):
        yield StaleLock(collection.name, document["_id"], document["lock_id"], document["lock_time"], why)
