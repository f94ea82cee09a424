"""Locks that the server may have set although this process does not know of them.

The answer to the write was lost, or it was an error of a server that had made it all the same, such as a primary of a
replica set that stepped down. No other process frees the lock of an owner that is alive, so that this process has to.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pymongo.errors import PyMongoError

from jfr_mp.database.faults import TRANSIENT
from jfr_mp.database.locks import UNLOCKED

if TYPE_CHECKING:
    from jfr_mp.database.connection import QueueDatabase


_ERRORS: tuple[type[Exception], ...] = (PyMongoError, *TRANSIENT)


@contextmanager
def in_doubt(db: QueueDatabase, lock_id: str) -> Iterator[None]:
    """Remember a lock if a block that may have set it ends with an error of the database."""
    try:
        yield
    except _ERRORS:
        db.doubtful_locks.add(lock_id)
        raise


def free_doubtful_locks(db: QueueDatabase) -> None:
    """Free the remembered locks wherever they are set."""
    for lock_id in tuple(db.doubtful_locks):
        for collection in (db.jobs, db.flows):
            collection.update_many({"lock_id": lock_id}, {"$set": dict(UNLOCKED)})
        db.doubtful_locks.discard(lock_id)
