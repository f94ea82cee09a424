"""One role process as its master sees it: started, signalled and reaped."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil

from jfr_mp.bus.messages import RoleStatus
from jfr_mp.config import LogLevel
from jfr_mp.model import Condition
from jfr_mp.step_table import Role
from jfr_mp.supervisor.lifecycle import ChildState, Died
from jfr_mp.supervisor.logfile import LogFile

#: The program of role processes.
PROGRAM = "jfr_mp.role_process"
#: Signals that other processes send: the last lines of the log do not explain them.
_FROM_OUTSIDE = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
_SIGNAL_NUMBERS = frozenset(signal.Signals)


@dataclass(frozen=True)
class ChildSpec:
    """A role process that is wanted, such as ``transfer-2``."""

    role: Role
    name: str


def specs(roles: Mapping[Role, int]) -> list[ChildSpec]:
    """Return the role processes for a number of processes per role."""
    return [ChildSpec(role, f"{role}-{n}") for role, count in roles.items() for n in range(1, count + 1)]


@dataclass(frozen=True)
class ChildArguments:
    """What the command line tells a new role process.

    Parameters
    ----------
    spec
        Its role and name.
    run_dir
        The directory of its master, in which the bus is.
    log_level
        From which level on it logs.
    lifeline
        The reading end of the lifeline; see `jfr_mp.bus.lifeline`.
    """

    spec: ChildSpec
    run_dir: Path
    log_level: LogLevel
    lifeline: int


class RoleProcess(Protocol):
    """The process of a role, however it was started; `subprocess.Popen` is one."""

    pid: int

    def poll(self) -> int | None:
        """Return its exit status as `subprocess` gives it, or None while it runs."""

    def send_signal(self, number: signal.Signals, /) -> None:
        """Send it a signal, unless it has ended."""


class RoleProcesses(Protocol):
    """What starts role processes: cold, or by the fork server."""

    @property
    def server_pid(self) -> int | None:
        """The pid of the fork server, or None if there is none."""

    @property
    def announces(self) -> Sequence[int]:
        """File descriptors that become readable when a role process has ended; none if SIGCHLD tells it."""

    def wait_ready(self) -> None:
        """Wait until `start` takes no longer than a fork."""

    def start(self, arguments: ChildArguments, log: int) -> RoleProcess:
        """Start a role process in a session of its own, with the file `log` as its output.

        Ctrl-C on the terminal of its master does not reach it. Of the master's open files it inherits the lifeline
        only.

        Raises
        ------
        OSError
            If it cannot be started.
        """


def role_arguments(project: str, arguments: ChildArguments) -> list[str]:
    """Return the arguments of the program of role processes."""
    argv = ["--project", project, "--role", arguments.spec.role, "--name", arguments.spec.name]
    argv += ["--run-dir", str(arguments.run_dir), "--log-level", arguments.log_level]
    return [*argv, "--lifeline-fd", str(arguments.lifeline)]


class ColdStart:
    """Starts role processes of a project with an interpreter for each."""

    server_pid: int | None = None
    announces: Sequence[int] = ()

    def __init__(self, project: str) -> None:
        self._project = project

    def wait_ready(self) -> None:
        """Return at once."""

    def command_line(self, arguments: ChildArguments) -> list[str]:
        """Return the command line of a role process."""
        # -P: a file such as queue.py in the working directory must not hide a module of Python.
        return [sys.executable, "-P", "-m", PROGRAM, *role_arguments(self._project, arguments)]

    def start(self, arguments: ChildArguments, log: int) -> RoleProcess:
        """See `RoleProcesses.start`."""
        return subprocess.Popen(
            self.command_line(arguments),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=(arguments.lifeline,),
            start_new_session=True,
        )


class Child:
    """A role process that is wanted, whether or not it runs now.

    Parameters
    ----------
    spec
        Its role and name.
    log
        Where its output goes.

    Attributes
    ----------
    life
        Its state.
    owner
        The owner that its locks name; None until it has registered, before which it takes none.
    condition
        What it last reported.
    """

    def __init__(self, spec: ChildSpec, log: LogFile) -> None:
        self.spec = spec
        self.log = log
        self.life = ChildState()
        self.owner: str | None = None
        self.condition = Condition()
        self._process: RoleProcess | None = None
        self._spawned = 0.0
        self._log_start = 0

    @property
    def pid(self) -> int | None:
        """The pid of its process, or None if there is none."""
        return self._process.pid if self._process else None

    def spawn(self, processes: RoleProcesses, arguments: ChildArguments) -> None:
        """Start a process.

        Raises
        ------
        OSError
            If it cannot be started.
        """
        self._log_start = self.log.size
        log = self.log.open()
        try:
            self._process = processes.start(arguments, log)
        finally:
            os.close(log)
        self._spawned = time.monotonic()

    def reap(self) -> Died | None:
        """Return how the process died, or None if it runs or there is none."""
        if self._process is None or (status := self._process.poll()) is None:
            return None
        self._process = None
        return Died(self._cause_of_death(status), status if status >= 0 else None)

    def _cause_of_death(self, status: int) -> str:
        """Return the signal or the exit status, with the last lines of the log if they can explain it."""
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
        """Return its status at the monotonic time `now`."""
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
