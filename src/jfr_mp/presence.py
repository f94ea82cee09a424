"""A process's entry in the registry, which tells the others that it lives and which locks are its own."""

from __future__ import annotations

import logging
import os
import socket
from contextlib import suppress

import psutil

from jfr_mp.loop import Task
from jfr_mp.model import utcnow
from jfr_mp.states import Role
from jfr_mp.store import processes
from jfr_mp.store.connection import QueueDatabase
from jfr_mp.store.faults import TRANSIENT

logger = logging.getLogger(__name__)


class Presence:
    """Keeps the registry entry of this process.

    Parameters
    ----------
    db
        The queue database.
    owner
        The identity that this process's locks name.
    name
        Its name in status, such as ``transfer-1``.
    roles
        What it does.
    """

    def __init__(self, db: QueueDatabase, owner: str, name: str, roles: tuple[Role, ...]) -> None:
        self._db = db
        self._owner = owner
        self._record = processes.ProcessRecord(
            id=owner,
            kind="role",
            name=name,
            role=roles[0] if len(roles) == 1 else None,
            roles=list(roles),
            host=socket.gethostname(),
            pid=os.getpid(),
            create_time=psutil.Process().create_time(),
            project=db.project.name,
            started_on=utcnow(),
            state="RUNNING",
        )

    def enter(self) -> None:
        """Register this process."""
        processes.register(self._db, self._record)

    def leave(self) -> None:
        """Unregister this process, and free whatever it still holds.

        Where the database is away, the next master finds the entry of a dead process and does the same.
        """
        with suppress(*TRANSIENT):
            processes.free_locks(self._db, self._owner)
            processes.unregister(self._db, self._owner)

    def heartbeat(self, interval: float) -> Task:
        """Return the task that keeps the entry alive.

        Parameters
        ----------
        interval
            Seconds between two heartbeats.
        """
        return Task("heartbeat", interval, self._beat)

    def _beat(self) -> None:
        if not processes.heartbeat(self._db, self._owner):
            # Somebody took us for dead, for instance while the machine slept. What we held then is fenced off.
            logger.warning("this process was missing in the registry, and enters it again")
            self.enter()
