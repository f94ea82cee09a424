"""One role process as its master sees it: how it is started, signalled and mourned."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from jfr_mp.bus.messages import RoleStatus
from jfr_mp.config import LogLevel
from jfr_mp.model import Condition
from jfr_mp.step_table import Role
from jfr_mp.supervisor.lifecycle import ChildState, Died
from jfr_mp.supervisor.logfile import LogFile

#: Signals that come from outside: what the process had last printed does not explain them.
_FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
_SIGNAL_NUMBERS = frozenset(signal.Signals)


@dataclass(frozen=True)
class ChildSpec:
    """A role process that is wanted, such as ``transfer-2``."""

    role: Role
    name: str


def specs(roles: Mapping[Role, int]) -> list[ChildSpec]:
    """Return the role processes that a number for each role means."""
    return [ChildSpec(role, f"{role}-{n}") for role, count in roles.items() for n in range(1, count + 1)]


@dataclass(frozen=True)
class SpawnOrder:
    """What a new role process has to be told.

    Parameters
    ----------
    spec
        What it is.
    run_dir
        Where the bus of the master is.
    log_level
        From which level on it logs.
    lifeline
        The file descriptor that ends with the master.
    """

    spec: ChildSpec
    run_dir: Path
    log_level: LogLevel
    lifeline: int


Command = Callable[[SpawnOrder], Sequence[str]]


def role_command(project: str) -> Command:
    """Return what makes the command line of a role process of a project."""

    def command(order: SpawnOrder) -> list[str]:
        # -P: a file such as queue.py where the user happens to be must not be taken for a module of Python's.
        argv = [sys.executable, "-P", "-m", "jfr_mp.role_process", "--project", project]
        argv += ["--role", order.spec.role, "--name", order.spec.name, "--run-dir", str(order.run_dir)]
        argv += ["--log-level", order.log_level, "--lifeline-fd", str(order.lifeline)]
        return argv

    return command


class Child:
    """A role process, or the place of one.

    Parameters
    ----------
    spec
        What it is.
    log
        Where its output goes.

    Attributes
    ----------
    life
        Where it is in its life.
    owner
        The identity that its locks name, once it has introduced itself: it takes none before.
    condition
        What it said of itself.
    """

    def __init__(self, spec: ChildSpec, log: LogFile) -> None:
        self.spec = spec
        self.log = log
        self.life = ChildState()
        self.owner: str | None = None
        self.condition = Condition()
        self._process: subprocess.Popen[bytes] | None = None
        self._spawned = 0.0
        self._log_start = 0

    @property
    def pid(self) -> int | None:
        """The number of its process, or None where there is none."""
        return self._process.pid if self._process else None

    def spawn(self, argv: Sequence[str], lifeline: int) -> None:
        """Start a process.

        It gets a session of its own, so that Ctrl-C on the terminal of its master is not for it, and of the master's
        open files nothing but the life-line.

        Raises
        ------
        OSError
            If the system does not start it.
        """
        self._log_start = self.log.size
        log = self.log.open()
        try:
            self._process = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(lifeline,),
                start_new_session=True,
            )
        finally:
            os.close(log)
        self._spawned = time.monotonic()

    def reap(self) -> Died | None:
        """Return how the process ended, or None where it runs or there is none."""
        if self._process is None or (status := self._process.poll()) is None:
            return None
        self._process = None
        return Died(self._obituary(status), status if status >= 0 else None)

    def _obituary(self, status: int) -> str:
        """Return what killed it, or its exit status, and the last lines that it printed."""
        if status >= 0:
            why = f"exit status {status}"
        elif -status in _SIGNAL_NUMBERS:
            why = f"killed by {signal.Signals(-status).name}"
        else:
            why = f"killed by signal {-status}"
        lines = [] if -status in _FROM_OUTSIDE else self.log.last_lines(self._log_start)
        return "\n".join([why, *lines])

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process, if there is one."""
        if self._process is not None:
            self._process.send_signal(number)

    def status(self, now: float) -> RoleStatus:
        """Return how it is at the monotonic time `now`."""
        return RoleStatus(
            role=self.spec.role,
            name=self.spec.name,
            pid=self.pid,
            state=self.life.state,
            uptime_s=round(now - self._spawned, 3) if self._process else None,
            restarts=self.life.restarts,
            rss_bytes=_resident(self._process.pid) if self._process else None,
            last_error=self.condition.last_error or self.life.last_error,
        )


def _resident(pid: int) -> int | None:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.Error:
        return None
