"""Leases: what one process in the whole deployment does at a time, such as asking a scheduler."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from pymongo.errors import DuplicateKeyError

if TYPE_CHECKING:
    from jfr_mp.database.connection import QueueDatabase

logger = logging.getLogger(__name__)


class Lease:
    """A lease as one of the processes sees it that would like to have it.

    It belongs to its holder as long as that one is in the registry: whoever buries a dead process frees its leases.

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
        """Tell whether this process is the one; it becomes that where nobody else is.

        It costs a query every `probe_interval` of the project, and nothing between.
        """
        now = self._clock()
        if now >= self._look_due:
            held = self._look()
            self._look_due = now + self._look_every
            if held != self._held:
                logger.info("this process %s the lease %r", "has" if held else "has lost", self._name)
            self._held = held
        return self._held

    def _look(self) -> bool:
        lease = self._db.leases.find_one({"_id": self._name})
        holder = lease["owner"] if lease else None
        if holder == self._owner:
            return True
        if holder is not None and self._db.processes.find_one({"_id": holder}, {"_id": 1}):
            return False
        try:
            # Two may come at the same time: the second finds another owner, and may not insert what is there already.
            self._db.leases.update_one(
                {"_id": self._name, "owner": holder},
                {"$set": {"owner": self._owner}, "$currentDate": {"since": True}},
                upsert=True,
            )
        except DuplicateKeyError:
            return False
        return True


def free_leases(db: QueueDatabase, owner: str) -> None:
    """Give back all leases of a process."""
    db.leases.delete_many({"owner": owner})
