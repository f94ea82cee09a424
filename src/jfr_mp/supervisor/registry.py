"""What masters tell each other through the database: who lives where, and which locks nobody holds any more."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import psutil

from jfr_mp.bus.messages import MasterStatus
from jfr_mp.bus.paths import process_alive
from jfr_mp.database import processes, running_runner
from jfr_mp.database.connection import QueueDatabase
from jfr_mp.database.processes import ProcessRecord
from jfr_mp.database.rescue import Rescuer
from jfr_mp.database.setup import ensure_initialised
from jfr_mp.step_table import Role

if TYPE_CHECKING:
    from jfr_mp.config import Project

logger = logging.getLogger(__name__)

_ENDED = "it has ended"


class DatabaseRegistry:
    """The registry of one master; use `enter` first and `leave` last.

    Parameters
    ----------
    db
        A connection of its own, which `leave` closes.
    owner
        The identity of the master.
    roles
        How many processes of each role it keeps.
    """

    def __init__(self, db: QueueDatabase, owner: str, roles: Mapping[Role, int]) -> None:
        self._db = db
        self._owner = owner
        self._record = ProcessRecord(
            id=owner,
            kind="master",
            name="master",
            roles=list(roles),
            host=socket.gethostname(),
            pid=os.getpid(),
            create_time=psutil.Process().create_time(),
            project=db.project.name,
            state="RUNNING",
        )
        self._sweeper = Rescuer(db)
        self._ping_due = 0.0
        self._clean_up_due = 0.0

    def enter(self) -> None:
        """Clean up after the dead of this machine and register this master.

        Raises
        ------
        AlreadyRunning
            If a runner of another kind works on this database.
        DatabaseError
            If the database does not answer or refuses.
        """
        ensure_initialised(self._db)
        clean_up(self._db)
        running_runner.acquire(self._db, self._record)

    def role_gone(self, owner: str) -> None:
        """Free the locks of a role process that has ended, and forget it."""
        processes.bury(self._db, owner, _ENDED)

    def heartbeat(self, status: MasterStatus) -> None:
        """Note that this master lives, and see to those that do not.

        Role processes speak for themselves: one that hangs is to lose its locks.
        """
        row, now = status.row(), time.monotonic()
        concerning_hosts = status.model_dump(include={"outages", "transfers"})
        fields = {"state": row["state"], "rows": row["roles"], **concerning_hosts}
        if not processes.heartbeat(self._db, self._owner, fields):
            logger.warning("this master was missing in the registry, and enters it again")
            running_runner.acquire(self._db, self._record)
        self._sweeper.sweep()
        if now >= self._ping_due:
            self._ping_due = now + self._db.project.runner.delay_ping_db
            running_runner.ping(self._db, running_runner.ping_data(self._db, self._record))
        # Role processes of a master that was killed end later than it, when the next one is here already.
        if now >= self._clean_up_due:
            self._clean_up_due = now + self._db.project.jfr_mp.lease_ttl
            clean_up(self._db)

    def leave(self) -> None:
        """Forget this master and close the connection."""
        running_runner.release(self._db, self._owner)
        processes.unregister(self._db, self._owner)
        self._db.close()


def clean_up(db: QueueDatabase) -> None:
    """Free the locks of all processes that were registered on this machine and have ended, and forget them."""
    lease_ttl = db.project.jfr_mp.lease_ttl
    for record in [*processes.living(db, lease_ttl), *processes.expired(db, lease_ttl)]:
        if record.host == socket.gethostname() and not process_alive(record.pid, record.create_time):
            processes.bury(db, record.id, _ENDED)


def clean_up_host(project: Project) -> None:
    """Do `clean_up` where no master is about to.

    Raises
    ------
    DatabaseError
        If the database does not answer or refuses.
    """
    db = QueueDatabase.connect(project)
    try:
        clean_up(db)
    finally:
        db.close()


def masters_elsewhere(project: Project) -> list[MasterStatus]:
    """Return the masters on other machines as they last described themselves.

    Raises
    ------
    DatabaseError
        If the database does not answer or refuses.
    """
    db = QueueDatabase.connect(project)
    try:
        return [
            MasterStatus.model_validate(
                {
                    "host": record.host,
                    "pid": record.pid,
                    "state": record.state,
                    "roles": record.rows,
                    "outages": record.outages,
                    "transfers": record.transfers,
                }
            )
            for record in processes.living(db, project.jfr_mp.lease_ttl)
            if record.kind == "master" and record.host != socket.gethostname()
        ]
    finally:
        db.close()
