"""Start, stop, kill and inspect the masters of this machine, from the command line and from Python."""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from jfr_mp.bus.client import MasterClient
from jfr_mp.bus.messages import MasterStatus, RoleStatus
from jfr_mp.bus.paths import MasterFile, RunDir, exclusive, run_dirs, runtime_dir
from jfr_mp.config import LogLevel
from jfr_mp.database.connection import QueueDatabase
from jfr_mp.errors import BusError, DatabaseError, ExitCode, JfrMpError, NotRunning, StartFailed
from jfr_mp.identity import host_name
from jfr_mp.logs import LogFormat
from jfr_mp.membership.records import masters_elsewhere
from jfr_mp.membership.rescuer import evict_dead_here
from jfr_mp.step_table import Role
from jfr_mp.supervisor import daemon
from jfr_mp.supervisor.command_line import command_line
from jfr_mp.supervisor.lifecycle import Policy, State
from jfr_mp.supervisor.logfile import LogFile, claim_log_dir, log_dir
from jfr_mp.supervisor.open_files import require_open_files

if TYPE_CHECKING:
    from jfr_mp.config import Project

logger = logging.getLogger(__name__)

#: Seconds between two looks at a master that starts or stops.
_LOOK_EVERY = 0.05
#: Seconds beyond all of its own deadlines within which a master that was told to stop has exited.
_MARGIN = 15.0
#: The states of a master some or all of whose roles are held.
HELD = ("PAUSED", "DRAINING")
#: Seconds for the role processes of a master that was killed.
_REAPED_WITHIN = 5.0


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
    log_format: LogFormat | str | None = None,
    timeout: float = 60.0,
) -> MasterInfo:
    """Start a master with its role processes.

    In the background, return when all role processes are ready; if one does not become ready, none is left running. In
    the foreground this process is the master, and the call returns when the master was stopped.

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
    log_format
        How a master in the foreground shows logs: "text", "json" or "journal"; None for what suits its standard error.
    timeout
        Seconds after which a start in the background has failed. No process is left running then, nor after an
        interrupt.

    Raises
    ------
    AlreadyRunning
        If another master on this machine has one of the roles, or another kind of runner works on the database.
    DatabaseError
        If the database cannot be reached or refuses the operation.
    StartFailed
        If a role process did not become ready, with its last error; or, in the foreground, if one was given up.
    """
    log_level = LogLevel(log_level)
    require_open_files()
    claim_log_dir(project)
    if foreground:
        # What a master needs takes long to import; one in the background imports it by itself.
        from jfr_mp.supervisor.program import Shown, run_master

        shown = Shown(LogFormat(log_format) if log_format else LogFormat.fitting(sys.stderr))
        if run_master(project, roles, log_level=log_level, shown=shown) is not ExitCode.OK:
            raise StartFailed(f"a role process was given up: see the logs in {log_dir(project)}")
        return MasterInfo(os.getpid(), runtime_dir(project) / str(os.getpid()), roles)
    deadline = time.monotonic() + timeout
    log = LogFile(log_dir(project) / "master.log")
    run_dir = daemon.launch(command_line(project, roles, log_level), log, deadline, _undo)
    try:
        wait_until_ready(run_dir, deadline)
    except BaseException:  # an interrupt too: nothing of a failed start is left running
        _undo(run_dir)
        raise
    return MasterInfo(int(run_dir.path.name), run_dir.path, roles)


def stop(project: Project, max_wait: float | None = None) -> list[MasterInfo]:
    """Stop the masters on this machine; their role processes finish the current steps.

    Parameters
    ----------
    project
        What they work on.
    max_wait
        Seconds for which to wait for them; by default until they should have exited according to `stop_timeout` of the
        project. They go on stopping after it.

    Returns
    -------
    list of MasterInfo
        The masters that were stopped.

    Raises
    ------
    NotRunning
        If there is none; it names the machines that have one.
    JfrMpError
        If one does not exit.
    """
    found = _told_to_stop(project)
    policy = Policy(drain=project.jfr_mp.stop_timeout)
    limit = policy.drain + policy.term + _MARGIN if max_wait is None else max_wait
    for _, master in found:
        if not _wait_for_exit(master, limit):
            raise JfrMpError(
                f"the master (pid {master.pid}) did not stop within {limit:g} s: kill it with `jfr-mp kill`; its log "
                f"is in {log_dir(project)}"
            )
    return [master_info(run_dir, master) for run_dir, master in found]


def request_stop(project: Project) -> list[MasterInfo]:
    """Ask the masters on this machine to stop, without waiting for them; otherwise as `stop`."""
    return [master_info(run_dir, master) for run_dir, master in _told_to_stop(project)]


def kill(project: Project) -> list[MasterInfo]:
    """Kill the role processes of the masters on this machine, and stop the masters.

    Returns
    -------
    list of MasterInfo
        The masters that were stopped.

    Raises
    ------
    NotRunning
        If there is none; it names the machines that have one.
    """
    found = required(project)
    for run_dir, master in found:
        _kill(run_dir, master)
    clean_up(project)
    return [master_info(run_dir, master) for run_dir, master in found]


def masters(project: Project) -> list[MasterStatus]:
    """Return the status of all masters of a project: those on this machine, and others that the database knows.

    The others are missing if the database is down.
    """
    here = masters_here(project)
    try:
        return here + _masters_elsewhere(project)
    except DatabaseError as error:
        logger.debug("masters on other machines cannot be listed: %s", error)
        return here


def masters_here(project: Project) -> list[MasterStatus]:
    """Return the status of the masters of a project on this machine, without the database."""
    answers = [_status(run_dir, master) for run_dir, master in living_here(project)]
    return [answer for answer in answers if answer is not None]


# Starting


def _undo(run_dir: RunDir) -> None:
    if (master := run_dir.master) is not None:
        _kill(run_dir, master)


def wait_until_ready(run_dir: RunDir, deadline: float) -> None:
    """Wait for the role processes of a master; raise `StartFailed` if one is given up or the deadline passes."""
    with MasterClient(run_dir) as client:
        while True:
            master = client.status()
            # The roles that a restarted master holds are STOPPED until `jfr-mp resume`.
            ready = (State.RUNNING, State.STOPPED) if master.state in HELD else (State.RUNNING,)
            if all(role.state in ready for role in master.roles):
                return
            late = time.monotonic() > deadline
            failed = [role for role in master.roles if role.state == State.FATAL or (late and role.state not in ready)]
            if failed:
                raise StartFailed(_reasons(failed))
            time.sleep(_LOOK_EVERY)


def _reasons(failed: list[RoleStatus]) -> str:
    return "\n".join(["not every role process became ready, so all were stopped:", *complaints(failed)])


def complaints(failed: list[RoleStatus]) -> list[str]:
    """Return one line for each role process: its state and its last error."""
    return [f"{role.name} ({role.state}): {role.last_error or 'no error yet'}" for role in failed]


# Stopping


def _told_to_stop(project: Project) -> list[tuple[RunDir, MasterFile]]:
    found = required(project)
    for run_dir, master in found:
        _request_stop(run_dir, master)
    return found


def _request_stop(run_dir: RunDir, master: MasterFile) -> None:
    """Ask over the bus; a master that does not answer there, perhaps because it is about to exit, gets a signal."""
    try:
        with MasterClient(run_dir) as client:
            client.command("stop")
    except BusError as error:
        logger.debug("%s", error)
        _signal(master, signal.SIGTERM)


def _kill(run_dir: RunDir, master: MasterFile) -> None:
    """Have a master kill its role processes and exit; if it does not, kill all of them."""
    children = _role_processes(master)
    try:
        with MasterClient(run_dir, timeout=2.0) as client:
            client.command("stop", drain=False)
    except BusError as error:
        logger.debug("%s", error)
    else:
        if _wait_for_exit(master, _MARGIN):
            return
    _signal(master, signal.SIGKILL)
    for process in children:
        # psutil makes sure that the pid has not been given to another process.
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(children, timeout=_REAPED_WITHIN)


def _role_processes(master: MasterFile) -> list[psutil.Process]:
    """Return the role processes of a master, and its fork server."""
    try:
        children = psutil.Process(master.pid).children()
        forked = [child.children() for child in children if child.pid == master.fork_server]
    except psutil.NoSuchProcess:
        return []
    return children + [process for processes in forked for process in processes]


def _signal(master: MasterFile, number: signal.Signals) -> None:
    if master.alive:
        try:
            os.kill(master.pid, number)
        except ProcessLookupError:
            return


def _wait_for_exit(master: MasterFile, timeout: float) -> bool:
    """Return whether a master exits within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while master.alive:
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK_EVERY)
    return True


def clean_up(project: Project) -> None:
    """Remove what dead masters left; if the database is down, the next start does the rest."""
    runtime = runtime_dir(project)
    with exclusive(runtime):
        for run_dir in run_dirs(runtime):
            if (master := run_dir.master) is None or not master.alive:
                run_dir.remove()
    try:
        with closing(QueueDatabase.connect(project)) as db:
            evict_dead_here(db)
    except DatabaseError as error:
        logger.warning("the locks of the killed processes stay until the next start: %s", error)


# Looking


def living_here(project: Project) -> list[tuple[RunDir, MasterFile]]:
    """Return the masters on this machine, answering or not."""
    found = [(run_dir, run_dir.master) for run_dir in run_dirs(runtime_dir(project))]
    return [(run_dir, master) for run_dir, master in found if master is not None and master.alive]


def required(project: Project) -> list[tuple[RunDir, MasterFile]]:
    """Return the masters on this machine; raise `NotRunning`, which names other machines with one, if there is none."""
    found = living_here(project)
    if not found:
        raise NotRunning(f"no master of project {project.name} is running on this machine{_elsewhere(project)}")
    return found


def master_info(run_dir: RunDir, master: MasterFile) -> MasterInfo:
    """Return what the callers of this package learn about a master."""
    return MasterInfo(master.pid, run_dir.path, master.roles)


def _status(run_dir: RunDir, master: MasterFile) -> MasterStatus | None:
    """Return the status of a master on this machine, or None if it has exited meanwhile."""
    try:
        with MasterClient(run_dir) as client:
            return client.status().model_copy(update={"local": True})
    except BusError:
        if not master.alive:
            return None
        return MasterStatus(host=host_name(), pid=master.pid, state="UNRESPONSIVE", roles=[], local=True)


def _masters_elsewhere(project: Project) -> list[MasterStatus]:
    with closing(QueueDatabase.connect(project)) as db:
        return masters_elsewhere(db)


def _elsewhere(project: Project) -> str:
    """Return the end of a message: the machines on which a master runs."""
    try:
        hosts = sorted({master.host for master in _masters_elsewhere(project)})
    except DatabaseError:
        return ""
    return (
        f"; one is running on {', '.join(hosts)}: use the command there" if hosts else "; start one with `jfr-mp start`"
    )
