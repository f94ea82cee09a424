"""Leases: what one process of the whole deployment does at a time, such as asking a scheduler."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from pymongo.errors import DuplicateKeyError

if TYPE_CHECKING:
    from jfr_mp.database.connection import QueueDatabase

logger = logging.getLogger(__name__)

#: The least time in seconds between two looks of a process that waits for a lease.
_AGAIN = 0.2


class Lease:
    """A lease as seen by one of the processes that compete for it.

    It belongs to its holder for as long as the holder is in the registry. Evicting a dead process frees its leases.

    Parameters
    ----------
    db
        The queue database.
    name
        What it is for; the same on all machines.
    owner
        This process, as in the registry.
    clock
        Monotonic time in seconds.
    """

    def __init__(self, db: QueueDatabase, name: str, owner: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._db = db
        self._clock = clock
        self._name = name
        self._owner = owner
        self._look_every = db.project.jfr_mp.probe_interval
        self._held = False
        self._look_due = 0.0

    def held(self) -> bool:
        """Return whether this process holds the lease, after taking it if no other process holds it.

        It costs one query in each `probe_interval` of the project. A process that waits for the lease may ask more
        often, because it is woken up when the holder is evicted.
        """
        now = self._clock()
        if now >= self._look_due:
            held = self._look()
            self._look_due = now + (self._look_every if held else min(self._look_every, _AGAIN))
            if held != self._held:
                logger.info("this process %s the lease %r", "holds" if held else "has lost", self._name)
            self._held = held
        return self._held

    def _look(self) -> bool:
        lease = self._db.leases.find_one({"_id": self._name})
        holder = lease.get("owner") if lease else None
        if holder == self._owner:
            return True
        # A damaged lease may contain anything, an operator of a query included, and is free then.
        if isinstance(holder, str) and self._db.processes.find_one({"_id": holder}, {"_id": 1}):
            return False
        try:
            # Of two processes at the same time, the second finds another owner, and its insertion is a duplicate.
            self._db.leases.update_one(
                {"_id": self._name, "owner": {"$eq": holder}},
                {"$set": {"owner": self._owner}, "$currentDate": {"since": True}},
                upsert=True,
            )
        except DuplicateKeyError:
            return False
        return True


def free_leases(db: QueueDatabase, owner: str) -> None:
    """Free all leases of a process."""
    db.leases.delete_many({"owner": owner})
