"""Which process it is: in locks, in the registry, in the directory of a master and in logs."""

from __future__ import annotations

import os
import secrets
import socket
from typing import Self

import psutil
from pydantic import BaseModel, Field

LOCK_PREFIX = "jfr-mp/"

#: Seconds by which two readings of the start time of one process may differ.
_SAME_START = 1.0


def this_machine() -> str:
    """Return the name that tells this machine from the others of a deployment: its host name."""
    return socket.gethostname()


class ProcessIdentity(BaseModel):
    """A process, as opposed to every other one that has run on any machine.

    Parameters
    ----------
    host
        Its machine, by the name that `this_machine` gives there.
    pid
        Its number, which a later process may have as well.
    create_time
        When it was started, in seconds since the epoch as psutil gives it: tells it from that later one.
    """

    host: str = Field(default_factory=this_machine)
    pid: int
    create_time: float

    @classmethod
    def of_this_process(cls) -> Self:
        """Return the identity of the process that calls this."""
        return cls(pid=os.getpid(), create_time=psutil.Process().create_time())

    @property
    def is_local(self) -> bool:
        """Whether it belongs to this machine."""
        return self.host == this_machine()

    @property
    def alive(self) -> bool:
        """Whether it runs; only its own machine can tell.

        A zombie does not: it does nothing any more, but the first process of a container may never reap it.
        """
        try:
            process = psutil.Process(self.pid)
            is_it = abs(process.create_time() - self.create_time) < _SAME_START
            return is_it and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


def new_owner() -> str:
    """Return an id for this process: ``host:pid:token``; the token tells it from a later process of that pid."""
    return f"{this_machine()}:{os.getpid()}:{secrets.token_hex(4)}"


def new_lock_id(owner: str) -> str:
    """Return the id of a new lock; it names its owner, so that any process can free it if the owner has died."""
    return f"{LOCK_PREFIX}{owner}/{secrets.token_hex(6)}"


def owner_of_lock(lock_id: str) -> str | None:
    """Return the process that holds a lock, or None if the lock is jobflow-remote's."""
    if not lock_id.startswith(LOCK_PREFIX):
        return None
    return lock_id.removeprefix(LOCK_PREFIX).rpartition("/")[0]
