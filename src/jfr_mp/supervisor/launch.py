"""Starting, asking and ending masters, for the command line and for Python."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jfr_mp.bus.client import MasterClient
from jfr_mp.bus.messages import MasterStatus
from jfr_mp.bus.paths import MasterFile, RunDir, exclusive, run_dirs, runtime_dir
from jfr_mp.config import LogLevel
from jfr_mp.errors import BusError, DatabaseError, ExitCode, JfrMpError, NotRunning, StartFailed
from jfr_mp.step_table import Role
from jfr_mp.supervisor.daemon import start_daemon
from jfr_mp.supervisor.ending import ask_to_stop, end, wait_for_end
from jfr_mp.supervisor.lifecycle import Policy
from jfr_mp.supervisor.registry import clean_up_host, masters_elsewhere
from jfr_mp.supervisor.session import log_dir, run_master

if TYPE_CHECKING:
    from jfr_mp.config import Project

logger = logging.getLogger(__name__)

#: Seconds beyond all of its own deadlines in which a stopping master ends.
_MARGIN = 15.0


@dataclass(frozen=True)
class MasterInfo:
    """A master on this machine."""

    pid: int
    run_dir: Path
    roles: Mapping[Role, int]


def start(
    project: Project,
    roles: Mapping[Role, int],
    *,
    log_level: LogLevel | str = LogLevel.INFO,
    foreground: bool = False,
    timeout: float = 60.0,
) -> MasterInfo:
    """Start a master with its role processes.

    In the background it returns when all role processes are ready; where one of them is not, none is left running. In
    the foreground this process is the master, and it returns when that was told to stop.

    Parameters
    ----------
    project
        What to work on.
    roles
        How many processes of each role.
    log_level
        From which level on all of them log.
    foreground
        Whether this process, in its main thread, is to be the master.
    timeout
        Seconds after which a start in the background counts as failed.

    Raises
    ------
    AlreadyRunning
        If one of the roles is taken on this machine, or the database is in use by another kind of runner.
    DatabaseError
        If the database does not answer or refuses.
    StartFailed
        If a role process did not become ready, or, in the foreground, had to be given up.
    """
    log_level = LogLevel(log_level)
    if not foreground:
        run_dir = start_daemon(project, roles, log_level, timeout)
        return MasterInfo(int(run_dir.path.name), run_dir.path, roles)
    if run_master(project, roles, log_level=log_level, foreground=True) is not ExitCode.OK:
        raise StartFailed(f"a role process had to be given up: see the logs in {log_dir(project)}")
    return MasterInfo(os.getpid(), runtime_dir(project) / str(os.getpid()), roles)


def stop(project: Project) -> list[MasterInfo]:
    """Stop the masters on this machine; their role processes finish the steps in hand.

    Returns
    -------
    list of MasterInfo
        Those that were stopped.

    Raises
    ------
    NotRunning
        If there is none; it names the machines that have one.
    JfrMpError
        If one does not end.
    """
    found = _living(project)
    if not found:
        raise NotRunning(f"no master of project {project.name} runs on this machine{_where_else(project)}")
    for run_dir, master in found:
        ask_to_stop(run_dir, master)
    policy = Policy(drain=project.jfr_mp.stop_timeout)
    patience = policy.drain + policy.term + _MARGIN
    for _, master in found:
        if not wait_for_end(master, patience):
            raise JfrMpError(
                f"the master (pid {master.pid}) did not stop within {patience:g} s: end it with `jfr-mp kill`; its log "
                f"is in {log_dir(project)}"
            )
    return [_info(run_dir, master) for run_dir, master in found]


def kill(project: Project) -> list[MasterInfo]:
    """End the masters on this machine and their role processes at once.

    Returns
    -------
    list of MasterInfo
        Those that were ended.

    Raises
    ------
    NotRunning
        If there is none.
    """
    found = _living(project)
    if not found:
        raise NotRunning(f"no master of project {project.name} runs on this machine")
    for run_dir, master in found:
        end(run_dir, master)
    _clean_up(project)
    return [_info(run_dir, master) for run_dir, master in found]


def masters(project: Project) -> list[MasterStatus]:
    """Return how all masters of a project are: those on this machine, and those that the database knows of.

    While the database does not answer, the latter are missing.
    """
    answers = [_status(run_dir, master) for run_dir, master in _living(project)]
    here = [answer for answer in answers if answer is not None]
    try:
        return here + masters_elsewhere(project)
    except DatabaseError as error:
        logger.debug("masters on other machines cannot be seen: %s", error)
        return here


def log_files(project: Project, role: str | None = None) -> list[Path]:
    """Return the log files on this machine.

    Parameters
    ----------
    project
        Whose.
    role
        A role, a role process such as ``transfer-2``, or ``master``; None for all.
    """
    files = sorted(log_dir(project).glob("*.log"))
    return [file for file in files if role in (None, file.stem, file.stem.rpartition("-")[0])]


def _clean_up(project: Project) -> None:
    """Remove what dead masters left; without a database, the next start does the rest."""
    runtime = runtime_dir(project)
    with exclusive(runtime):
        for run_dir in run_dirs(runtime):
            if (master := run_dir.master) is None or not master.alive:
                run_dir.remove()
    try:
        clean_up_host(project)
    except DatabaseError as error:
        logger.warning("locks of the killed processes stay until the next start, the database is away: %s", error)


def _living(project: Project) -> list[tuple[RunDir, MasterFile]]:
    found = [(run_dir, run_dir.master) for run_dir in run_dirs(runtime_dir(project))]
    return [(run_dir, master) for run_dir, master in found if master is not None and master.alive]


def _info(run_dir: RunDir, master: MasterFile) -> MasterInfo:
    return MasterInfo(master.pid, run_dir.path, master.roles)


def _status(run_dir: RunDir, master: MasterFile) -> MasterStatus | None:
    """Return how a master is, or None where it has ended meanwhile."""
    try:
        with MasterClient(run_dir) as client:
            return client.status().model_copy(update={"local": True})
    except BusError:
        if not master.alive:
            return None
        host = socket.gethostname()
        return MasterStatus(host=host, pid=master.pid, state="UNRESPONSIVE", roles=[], local=True)


def _where_else(project: Project) -> str:
    """Return the end of a message: on which machines a master does run."""
    try:
        hosts = sorted({master.host for master in masters_elsewhere(project)})
    except DatabaseError:
        return ""
    return f"; it runs on {', '.join(hosts)}: stop it there" if hosts else "; `jfr-mp start` starts one"
