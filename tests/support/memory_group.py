"""A control group with little memory: the kernel kills what uses more of it; it needs root."""

from __future__ import annotations

import secrets
from pathlib import Path

import psutil

from tests.support.processes import end
from tests.support.waiting import wait_until

_ROOT = Path("/sys/fs/cgroup")


class MemoryGroup:
    """A control group of the version that this machine has memory in.

    Parameters
    ----------
    megabytes
        What all of its processes may use together.

    Raises
    ------
    OSError
        This machine lets nobody make one.
    """

    def __init__(self, megabytes: int) -> None:
        name, limit = f"jfr-mp-{secrets.token_hex(4)}", str(megabytes * 2**20)
        controllers = _ROOT / "cgroup.controllers"
        if controllers.exists() and "memory" in controllers.read_text().split():
            (_ROOT / "cgroup.subtree_control").write_text("+memory")
            self.path, limits = _ROOT / name, {"memory.max": limit}
            self._killed = "memory.events"
        else:
            self.path, limits = _own_group() / name, {"memory.limit_in_bytes": limit}
            self._killed = "memory.oom_control"
        self.path.mkdir()
        for file, value in limits.items():
            (self.path / file).write_text(value)

    @property
    def enter(self) -> str:
        """A line of a shell that moves this shell into the group."""
        return f"echo $$ > {self.path}/cgroup.procs"

    @property
    def kills(self) -> int:
        """How many processes the kernel has killed."""
        lines = (self.path / self._killed).read_text().splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))

    @property
    def pids(self) -> list[int]:
        """The processes in the group."""
        return [int(pid) for pid in (self.path / "cgroup.procs").read_text().split()]

    def close(self) -> None:
        """End the processes of the group, and remove it."""
        for pid in self.pids:
            end(pid)
        wait_until(lambda: not [pid for pid in self.pids if psutil.pid_exists(pid)], 20, "the end of the group")
        self.path.rmdir()


def _own_group() -> Path:
    """Return the group of version 1 in which this process is."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, names, place = line.split(":", 2)
        if "memory" in names.split(","):
            return _ROOT / "memory" / place.lstrip("/")
    raise FileNotFoundError("this machine has no control groups for memory")
