"""Have the masters on this machine begin again in place, with the project file and the program as they are now."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from jfr_mp.bus.client import MasterClient
from jfr_mp.bus.paths import MasterFile, RunDir
from jfr_mp.config import LogLevel
from jfr_mp.errors import BusError, ConfigError, StartFailed
from jfr_mp.supervisor.control import MasterInfo, complaints, master_info, required, wait_until_ready
from jfr_mp.supervisor.lifecycle import Policy, State
from jfr_mp.supervisor.logfile import log_dir

if TYPE_CHECKING:
    from jfr_mp.config import Project

#: Seconds between two looks at a master.
_LOOK_EVERY = 0.05
#: Seconds that a restart may take, beyond the deadlines of the steps that are under way.
_MARGIN = 75.0


def restart(project: Project, log_level: LogLevel | str | None = None) -> list[MasterInfo]:
    """Have the masters on this machine stop their role processes and begin again, in new programs of the same pids.

    A master that a service manager or a container has started stays there.

    Parameters
    ----------
    log_level
        From which level on they log afterwards; None for the level that they have.

    Returns
    -------
    list of MasterInfo
        Those masters, when all of their role processes are ready again.

    Raises
    ------
    NotRunning
        If there is none; it names the machines that have one.
    BusError
        If one does not answer.
    StartFailed
        If one does not come back, or a role process does not become ready.
    """
    policy = Policy(drain=project.jfr_mp.stop_timeout)
    found = required(project)
    for run_dir, _ in found:
        with MasterClient(run_dir) as client:
            client.command("restart", level=None if log_level is None else LogLevel(log_level))
    deadline = time.monotonic() + policy.drain + policy.term + _MARGIN
    for run_dir, master in found:
        _wait_for_successor(project, run_dir, master, deadline)
        wait_until_ready(run_dir, deadline)
    return [master_info(run_dir, master) for run_dir, master in found]


def _wait_for_successor(project: Project, run_dir: RunDir, master: MasterFile, deadline: float) -> None:
    """Wait until the program that follows a master can be reached."""
    while not _answers_after(run_dir, master):
        if not master.alive or time.monotonic() > deadline:
            raise StartFailed(f"the master (pid {master.pid}) did not come back: see the logs in {log_dir(project)}")
        time.sleep(_LOOK_EVERY)


def _answers_after(run_dir: RunDir, master: MasterFile) -> bool:
    successor = run_dir.master
    if successor is None or successor.owner == master.owner:
        return False
    try:
        with MasterClient(run_dir, timeout=1.0) as client:
            client.status()
    except BusError:
        return False
    return True


def reload(project: Project) -> list[MasterInfo]:
    """Have the masters on this machine replace their role processes one by one, with the project file as it is now.

    Returns
    -------
    list of MasterInfo
        Those masters, when all of their role processes have been replaced.

    Raises
    ------
    NotRunning
        If there is none; it names the machines that have one.
    ConfigError
        If a master refuses the file; the earlier one stays in effect there.
    BusError
        If one does not answer.
    StartFailed
        If a new role process was given up, with its last error.
    """
    found = required(project)
    for run_dir, master in found:
        with MasterClient(run_dir) as client:
            if not (reply := client.command("reload")).done:
                raise ConfigError(f"the master (pid {master.pid}) goes on with the earlier project file: {reply.text}")
            while client.status().state == "RELOADING":
                time.sleep(_LOOK_EVERY)
            if failed := [role for role in client.status().roles if role.state == State.FATAL]:
                raise StartFailed("\n".join(["a role process was given up:", *complaints(failed)]))
    return [master_info(run_dir, master) for run_dir, master in found]
