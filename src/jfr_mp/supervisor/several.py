"""One process for the masters of several projects: it starts them, passes signals on, and replaces dead ones.

Each project keeps a master of its own, so that a project whose database hangs does not delay the others. This process
is to them what systemd is to a master: they report to it by sd_notify(3), and it reports all of them to its own service
manager. The rules for their life are the table of `jfr_mp.supervisor.lifecycle`, as for role processes.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from jfr_mp import logs
from jfr_mp.config import LogLevel
from jfr_mp.errors import ExitCode
from jfr_mp.logs import LogFormat
from jfr_mp.step_table import Role
from jfr_mp.supervisor.command_line import command_line
from jfr_mp.supervisor.lifecycle import (
    Action,
    ChildState,
    Died,
    Event,
    NotYet,
    Policy,
    Ready,
    Start,
    State,
    Stop,
    Tick,
    transition,
)
from jfr_mp.supervisor.service_manager import ServiceManager, ServiceState, settled, summary
from jfr_mp.supervisor.signals import SignalInbox
from jfr_mp.supervisor.upkeep import allow_early_end, reap_orphans

if TYPE_CHECKING:
    from jfr_mp.config import Project

logger = logging.getLogger(__name__)

#: Seconds between two looks at the clock.
_GLANCE = 1.0
#: Seconds without a report after which a master counts as hung, and until its first one.
_WATCHDOG, _STARTS_WITHIN = 60.0, 120.0
#: Exit codes of a master that was told to stop, by `jfr-mp stop` for example: it is not started again.
_STOPPED_BY_USER = (ExitCode.OK, ExitCode.START_FAILED)
#: Seconds that a master takes for its stop, beyond the deadlines of its role processes.
_STOP_MARGIN = 25.0


class _Master:
    """The master of one project, as a child of this process."""

    def __init__(self, project: Project, argv: Sequence[str], directory: Path) -> None:
        own = Policy(drain=project.jfr_mp.stop_timeout)
        self.name = project.name
        within = own.drain + own.term + _STOP_MARGIN
        self.policy = Policy(ready_within=_STARTS_WITHIN, backoff=1.0, drain=within, term=within)
        self.life = ChildState()
        self._argv = list(argv)
        self._process: subprocess.Popen[bytes] | None = None
        self._heard = 0.0
        self._address = directory / str(len(list(directory.iterdir())))
        self.reports = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        self.reports.bind(str(self._address))

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def apply(self, event: Event) -> None:
        """Have an event change its state, and do what follows from that."""
        before = self.life.state
        self.life, actions = transition(self.life, event, time.monotonic(), self.policy)
        if self.life.state is not before:
            logger.debug("%s: %s -> %s", self.name, before, self.life.state)
        for action in actions:
            self._act(action)

    def _act(self, action: Action) -> None:
        match action:
            case Action.SPAWN:
                reporting = {"NOTIFY_SOCKET": str(self._address), "WATCHDOG_USEC": str(int(_WATCHDOG * 1e6))}
                self._process = subprocess.Popen(self._argv, stdin=subprocess.DEVNULL, env={**os.environ, **reporting})
                self._heard = time.monotonic()
                logger.info("the master of project %s started, pid %d", self.name, self._process.pid)
            case Action.DRAIN | Action.TERM:
                self.signal(signal.SIGTERM)
            case Action.KILL:
                self.signal(signal.SIGKILL)
            case Action.ALARM:
                logger.error("the master of project %s is given up: %s", self.name, self.life.last_error)

    def signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def turn(self) -> None:
        """Take its reports, notice its end, and kill it if it hangs."""
        while (report := self._next_report()) is not None:
            self._heard = time.monotonic()
            self.apply(Ready() if "READY=1" in report else NotYet())
        if self._process is not None and (status := self._process.poll()) is not None:
            self._process = None
            logger.info("the master of project %s exited with status %d", self.name, status)
            if status in _STOPPED_BY_USER:
                self.life = ChildState(State.STOPPED)
            else:
                self.apply(Died(f"exit status {status}", status if status >= 0 else None))
        if self.pid and self.life.state is State.RUNNING and time.monotonic() - self._heard > _WATCHDOG:
            logger.error("the master of project %s hangs and is killed", self.name)
            self.signal(signal.SIGKILL)
        self.apply(Tick())

    def _next_report(self) -> list[str] | None:
        try:
            return self.reports.recv(8192).decode(errors="replace").splitlines()
        except BlockingIOError:
            return None


def run_masters(
    projects: Sequence[Project],
    roles: Mapping[Role, int],
    *,
    log_level: LogLevel | None = None,
    log_format: LogFormat = LogFormat.TEXT,
) -> ExitCode:
    """Keep a master for each of some projects, in the foreground and the main thread, until all of them have stopped.

    SIGTERM and SIGINT stop all; SIGHUP has all reload their project files.

    Parameters
    ----------
    projects
        The projects.
    roles
        How many processes of each role each master keeps.
    log_level
        From which level on they log; None for the level of each project.
    log_format
        How the log is shown.

    Returns
    -------
    ExitCode
        OK, or START_FAILED if a master was given up.
    """
    logs.configure((log_level or LogLevel.INFO).to_logging(), "masters", log_format)
    allow_early_end()
    manager = ServiceManager.from_environment()
    with ExitStack() as stack:
        inbox = stack.enter_context(SignalInbox())
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="jfr-mp-masters-", dir="/tmp")))
        masters: list[_Master] = []
        for project in projects:
            argv = [*command_line(project, roles, log_level or project.log_level), "--foreground"]
            argv += ["--log-format", log_format, "--label", f"{project.name}/"]
            masters.append(_Master(project, argv, directory))
            stack.callback(masters[-1].reports.close)
        return _keep(masters, inbox, manager)


def _keep(masters: Sequence[_Master], inbox: SignalInbox, manager: ServiceManager) -> ExitCode:
    state, stopping = ServiceState.STARTING, False
    for master in masters:
        master.apply(Start())
    while not all(master.life.state in (State.STOPPED, State.FATAL) for master in masters):
        sources = [inbox.fileno(), *(master.reports.fileno() for master in masters)]
        select.select(sources, [], [], min(_GLANCE, manager.interval))
        for number in inbox.take():
            stopping = _pass_on(number, masters, stopping=stopping)
        for master in masters:
            master.turn()
        states = {master.name: master.life.state for master in masters}
        if stopping:
            state = ServiceState.STOPPING
        elif settled(states):
            state = ServiceState.READY
        manager.update(state, summary(states).replace("role processes", "masters"))
    return ExitCode.START_FAILED if any(master.life.state is State.FATAL for master in masters) else ExitCode.OK


def _pass_on(number: signal.Signals, masters: Sequence[_Master], *, stopping: bool) -> bool:
    """Do for all masters what a signal asks for; return whether they are to stop."""
    if number == signal.SIGCHLD:
        reap_orphans([master.pid for master in masters])
    elif number == signal.SIGHUP:
        for master in masters:
            master.signal(signal.SIGHUP)
    else:
        logger.info("stopping because of %s", number.name)
        for master in masters:
            # A second Ctrl-C stops at once.
            master.apply(Stop(drain=not (stopping and number == signal.SIGINT)))
        return True
    return stopping
