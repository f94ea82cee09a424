"""A process's entry in the registry, which tells the others that it lives and which locks are its own."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from contextlib import suppress
from typing import Self

import psutil

from jfr_mp.database import processes
from jfr_mp.database.connection import QueueDatabase
from jfr_mp.database.faults import TRANSIENT
from jfr_mp.database.rescue import Rescuer
from jfr_mp.engine.loop import Loop, Task
from jfr_mp.engine.wakeups import LocalWakeups
from jfr_mp.step_table import Role

logger = logging.getLogger(__name__)


class HeartbeatThread:
    """A context manager: within it this process is in the registry, and its heart beats.

    A thread of its own sees to that, whatever the rest of the process does, to the end of the last step. It also looks
    whether others have died. A process that is stopped has no heartbeat, and loses its locks when its lease runs out.

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
            state="RUNNING",
        )
        self._sweeper = Rescuer(db)
        self._lease_ttl = db.project.jfr_mp.lease_ttl
        self._beat_at = self._entered_at = time.monotonic()
        self._wakeups = LocalWakeups()
        beating = Task("heartbeat", db.project.jfr_mp.heartbeat_interval, self._beat)
        self._thread = threading.Thread(target=Loop([beating], self._wakeups).run, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._enter()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._wakeups.request_stop()
        self._thread.join()
        # Where the database is away, others find the entry of a dead process and do the same.
        with suppress(*TRANSIENT):
            processes.bury(self._db, self._owner, "it has ended")

    def holds_since(self, moment: float) -> bool:
        """Tell whether nobody can have taken the locks of this process away since a monotonic time."""
        return self._entered_at <= moment and time.monotonic() - self._beat_at < self._lease_ttl

    def _enter(self) -> None:
        processes.register(self._db, self._record)
        self._beat_at = self._entered_at = time.monotonic()

    def _beat(self) -> None:
        begun = time.monotonic()
        if processes.heartbeat(self._db, self._owner):
            self._beat_at = begun
        else:
            # Somebody took us for dead, for instance while the machine slept. What we held then is fenced off.
            logger.warning("this process was missing in the registry, and enters it again")
            self._enter()
        self._sweeper.sweep()
