"""Locks whose holder does not come back, and how they are broken."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from jfr_mp.database import processes
from jfr_mp.database.field_types import IS_DATE, IS_TEXT
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
    foreign_age = 0.0 if foreign_too else lock_timeout
    old_one = f"older than the lock_timeout of {lock_timeout or 0:g} s"
    whys = {True: "its process has died", False: "a lock of jobflow-remote" if foreign_too else old_one}
    ages: list[tuple[Doc, float]] = [(_OF_JFR_MP, options.lease_ttl)]
    if foreign_age is not None:
        ages.append(({"$not": _OF_JFR_MP}, foreign_age))
    old = [found for collection in (db.jobs, db.flows, db.auxiliary) for found in _older_than(collection, ages, whys)]
    # Read after the locks: the owner of a lock that was taken in between counts as living.
    living = processes.living_ids(db, options.lease_ttl) if any(_is_ours(lock.lock_id) for lock in old) else ()
    return [lock for lock in old if not _is_ours(lock.lock_id) or owner_of_lock(lock.lock_id) not in living]


def free_stale_locks(db: QueueDatabase, locks: Sequence[StaleLock]) -> None:
    """Break locks, each only if it is still the one that was found."""
    for lock in locks:
        result = db.db[lock.collection].update_one(
            {"_id": lock.id, "lock_id": lock.lock_id, "lock_time": lock.lock_time}, {"$set": dict(UNLOCKED)}
        )
        if result.modified_count:
            logger.warning("broke the lock %s on %s %s: %s", lock.lock_id, lock.collection, lock.id, lock.why)


def _is_ours(lock_id: str) -> bool:
    return lock_id.startswith(LOCK_PREFIX)


def _older_than(
    collection: Collection[Doc], ages: Sequence[tuple[Doc, float]], whys: Mapping[bool, str]
) -> Iterator[StaleLock]:
    """Yield the locks of each kind that are older than its age in seconds, by one query."""
    query = {
        "lock_id": IS_TEXT,
        "lock_time": IS_DATE,
        "$or": [{"lock_id": kind, "$expr": {"$lte": ["$lock_time", seconds_ago(seconds)]}} for kind, seconds in ages],
    }
    for document in collection.find(query, {"lock_id": 1, "lock_time": 1}):
        lock_id = document["lock_id"]
        yield StaleLock(collection.name, document["_id"], lock_id, document["lock_time"], whys[_is_ours(lock_id)])
