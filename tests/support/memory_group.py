"""Little memory: a control group, in which the kernel kills what uses more, or a limit and kills from outside.

A control group needs root, and a hierarchy that this process may change, which containers often lack.
"""

from __future__ import annotations

import errno
import secrets
from collections.abc import Iterable
from contextlib import suppress
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
            _share_memory()
            self.path, limits = _ROOT / name, {"memory.max": limit, "memory.swap.max": "0"}
            self._killed = "memory.events"
        else:
            self.path, limits = _own_group() / name, {"memory.limit_in_bytes": limit}
            self._killed = "memory.oom_control"
        self.path.mkdir()
        for file, value in limits.items():
            # Without support for swap, its file is missing.
            if (self.path / file).exists():
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


def _share_memory() -> None:
    """Let the groups of version 2 below the root have limits of memory.

    The root of a container is a group like any other: it must not contain processes itself then.
    """
    control = _ROOT / "cgroup.subtree_control"
    try:
        control.write_text("+memory")
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        others = _ROOT / "others"
        others.mkdir(exist_ok=True)
        for pid in (_ROOT / "cgroup.procs").read_text().split():
            with suppress(ProcessLookupError):
                (others / "cgroup.procs").write_text(pid)
        control.write_text("+memory")


def killed_first(pids: Iterable[int]) -> int:
    """Return the process that the kernel would kill first if the memory were used up: it gives each a score."""
    scores = {}
    for pid in pids:
        with suppress(OSError):
            scores[pid] = int(Path(f"/proc/{pid}/oom_score").read_text())
    return max(scores, key=lambda pid: scores[pid])


def _own_group() -> Path:
    """Return the group of version 1 in which this process is."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, names, place = line.split(":", 2)
        if "memory" in names.split(","):
            return _ROOT / "memory" / place.lstrip("/")
    raise FileNotFoundError("this machine has no control groups for memory")
