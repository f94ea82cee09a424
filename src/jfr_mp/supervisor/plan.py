"""The task of a master."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from jfr_mp.bus.gate import BusGate
from jfr_mp.bus.inbox import Inbox
from jfr_mp.bus.paths import RunDir
from jfr_mp.log_entries import LogOutput
from jfr_mp.states import JobState
from jfr_mp.supervisor.child import RoleProcesses
from jfr_mp.supervisor.continuation import Continuation
from jfr_mp.supervisor.lifecycle import Policy
from jfr_mp.supervisor.metrics import Exporter
from jfr_mp.supervisor.reload import ProjectFile
from jfr_mp.supervisor.service_manager import ServiceManager


@dataclass(frozen=True)
class Plan:
    """The task of a master.

    Parameters
    ----------
    begin
        How many processes of each role it keeps at first, and which of them are held; the level from which on all log.
    processes
        Starts the role processes.
    run_dir
        Its directory, which exists.
    log_dir
        The directory of the logs of its role processes, and of its own if it is a daemon.
    policy
        How long role processes may take, and when they are restarted.
    terminal
        Where a master in the foreground shows the logs of its role processes; None for a daemon.
    manager
        The service manager to report to.
    unreachable_for
        Seconds after which it stops if its sockets were deleted and cannot be made again.
    project_file
        The file that a reload reads again; None if there is none.
    exporter
        Where its metrics go; None for no metrics.
    gate
        Where commands from other machines come in; None if there is no bus between machines.
    news
        Where the states come in that have new jobs, as the database tells.
    tell_others
        Told the states that have new jobs, as the role processes of this master tell: for other machines.
    stops_on_hangup
        Whether SIGHUP means that the terminal of the user was closed; otherwise it asks for a reload.
    """

    begin: Continuation
    processes: RoleProcesses
    run_dir: RunDir
    log_dir: Path
    policy: Policy = field(default_factory=Policy)
    terminal: LogOutput | None = None
    manager: ServiceManager = field(default_factory=ServiceManager)
    unreachable_for: float = 30.0
    project_file: ProjectFile | None = None
    exporter: Exporter | None = None
    stops_on_hangup: bool = False
    gate: BusGate | None = None
    news: Inbox[frozenset[JobState]] = field(default_factory=Inbox)
    tell_others: Callable[[frozenset[JobState]], None] = field(default=lambda _states: None)
