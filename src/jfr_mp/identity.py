"""Which process it is: in locks, in the registry, in the directory of a master and in logs."""

from __future__ import annotations

import hashlib
import os
import secrets
import socket
import uuid
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Self

import psutil
import setproctitle
from pydantic import BaseModel, Field

LOCK_PREFIX = "jfr-mp/"

#: Seconds by which two readings of the start time of one process may differ.
_SAME_START = 1.0

_MACHINE_ID, _BOOT_ID = Path("/etc/machine-id"), Path("/proc/sys/kernel/random/boot_id")


@cache
def our_version() -> str:
    """Return the version of jfr-mp."""
    return version("jfr-mp")


def host_name() -> str:
    """Return the host name of this machine, for messages and for the user; several machines may have the same."""
    return socket.gethostname()


def this_machine() -> str:
    """Return an id of where the pids of this process are valid: this boot of this machine, and this pid namespace.

    Machines with equal host names, clones of one disk image and containers on one machine have different ids, and a
    machine has another one after a reboot. Only a process with the same id can be looked up by its pid.
    """
    return _machine(_pid_namespace())


@cache
def _machine(pid_namespace: str) -> str:
    parts = (_text(_MACHINE_ID) or f"{uuid.getnode():x}", _text(_BOOT_ID) or str(psutil.boot_time()), pid_namespace)
    # A hash, because the id of a machine should not be published.
    return hashlib.sha256("/".join(parts).encode()).hexdigest()[:16]


def _pid_namespace() -> str:
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:  # not Linux
        return ""


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def _start_ticks(pid: int) -> int | None:
    """Return when a process was started, in clock ticks since the boot, which no setting of the clock changes.

    It is field 22 of ``/proc/PID/stat`` in proc(5). None if there is no such process, or no such file system.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return None
    # The second field is the name of the command in parentheses, which may contain anything.
    return int(stat.rpartition(b")")[2].split()[19])


def show_as(name: str, project: str) -> None:
    """Name this process in process lists, where one that was forked would look like the one that forked it."""
    # Otherwise the name would take the place of the environment as `ps` shows it.
    os.environ["SPT_NOENV"] = "1"
    setproctitle.setproctitle(f"jfr-mp: {name} of project {project}")
    del os.environ["SPT_NOENV"]


class ProcessIdentity(BaseModel):
    """A process, as opposed to every other one that has run on any machine.

    Parameters
    ----------
    host
        The host name of its machine, for the user.
    machine
        Where its pid is valid, as `this_machine` gives it there; empty if that is not known.
    pid
        Its number, which a later process may have as well.
    create_time
        When it was started, in seconds since the epoch as psutil gives it: tells it from that later one.
    start_ticks
        The same in clock ticks since the boot; None if that is not known.
    """

    host: str = Field(default_factory=host_name)
    machine: str = Field(default_factory=this_machine)
    pid: int
    create_time: float
    start_ticks: int | None = None

    @classmethod
    def of_this_process(cls) -> Self:
        """Return the identity of the process that calls this."""
        return cls(pid=os.getpid(), create_time=psutil.Process().create_time(), start_ticks=_start_ticks(os.getpid()))

    @property
    def is_local(self) -> bool:
        """Whether its pid is valid here: it runs, or ran, on this machine since the last boot, in this container."""
        return self.machine == this_machine()

    @property
    def alive(self) -> bool:
        """Whether it runs; only its own machine can tell.

        A zombie does not: it does nothing any more, but the first process of a container may never reap it.
        """
        try:
            process = psutil.Process(self.pid)
            return self._is(process) and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    def _is(self, process: psutil.Process) -> bool:
        if self.start_ticks is not None and (ticks := _start_ticks(self.pid)) is not None:
            return ticks == self.start_ticks
        return abs(process.create_time() - self.create_time) < _SAME_START


def new_owner() -> str:
    """Return an id for this process: ``host:pid:token``; the token tells it from a later process of that pid."""
    return f"{host_name()}:{os.getpid()}:{secrets.token_hex(4)}"


def new_lock_id(owner: str) -> str:
    """Return the id of a new lock; it names its owner, so that any process can free it if the owner has died."""
    return f"{LOCK_PREFIX}{owner}/{secrets.token_hex(6)}"


def owner_of_lock(lock_id: str) -> str | None:
    """Return the process that holds a lock, or None if the lock is jobflow-remote's."""
    if not lock_id.startswith(LOCK_PREFIX):
        return None
    return lock_id.removeprefix(LOCK_PREFIX).rpartition("/")[0]
