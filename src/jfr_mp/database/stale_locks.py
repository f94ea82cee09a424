"""Locks whose holder does not come back, and how they are broken."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
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

_OF_JFR_MP = {"$regex": f"^{LOCK_PREFIX}"}


@dataclass(frozen=True)
class StaleLock:
    """A lock whose holder does not come back.

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


def stale_locks(db: QueueDatabase, *, foreign_too: bool = False) -> list[StaleLock]:
    """Return the locks that may be broken; all ages are by the server's clock.

    A lock of jfr-mp is stale if it is older than a lease and its owner is not a living process of the registry. One of
    jobflow-remote, which names no owner, is stale after the project's `lock_timeout`.

    Parameters
    ----------
    foreign_too
        Whether all locks of jobflow-remote count as stale; right only if no process of it is running.
    """
    options, lock_timeout = db.project.jfr_mp, db.project.runner.lock_timeout
    living = processes.living_ids(db, options.lease_ttl)
    found: list[StaleLock] = []
    for collection in (db.jobs, db.flows, db.auxiliary):
        expired = _older_than(collection, options.lease_ttl, _OF_JFR_MP, "its process has died")
        found += [stale for stale in expired if owner_of_lock(stale.lock_id) not in living]
        if foreign_too:
            found += _older_than(collection, 0, {"$not": _OF_JFR_MP}, "a lock of jobflow-remote")
        elif lock_timeout is not None:
            why = f"older than the lock_timeout of {lock_timeout:g} s"
            found += _older_than(collection, lock_timeout, {"$not": _OF_JFR_MP}, why)
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
