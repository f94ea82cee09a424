"""Starting a master in the background, and waiting until its role processes are ready."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jfr_mp import errors
from jfr_mp.bus.client import MasterClient
from jfr_mp.bus.paths import RunDir
from jfr_mp.config import LogLevel
from jfr_mp.errors import JfrMpError, StartFailed
from jfr_mp.step_table import Role
from jfr_mp.supervisor.ending import end
from jfr_mp.supervisor.lifecycle import State
from jfr_mp.supervisor.logfile import LogFile
from jfr_mp.supervisor.session import log_dir

if TYPE_CHECKING:
    from jfr_mp.config import Project

#: Seconds between two questions whether all are ready.
_ASK_EVERY = 0.05


def start_daemon(project: Project, roles: Mapping[Role, int], log_level: LogLevel, timeout: float) -> RunDir:
    """Start a master that outlives this process, and wait until all of its role processes are ready.

    Parameters
    ----------
    project
        What to work on.
    roles
        How many processes of each role.
    log_level
        From which level on all of them log.
    timeout
        Seconds after which the start counts as failed; nothing is left running then, nor after an interrupt.

    Returns
    -------
    RunDir
        Where the master can be spoken to.

    Raises
    ------
    JfrMpError
        What kept the master from starting.
    StartFailed
        If a role process did not become ready, with the last error of each of those.
    """
    deadline = time.monotonic() + timeout
    run_dir = RunDir(Path(_spawn(project, roles, log_level, deadline)["run_dir"]))
    try:
        _wait_until_ready(run_dir, deadline)
    except BaseException:  # an interrupt too
        if (master := run_dir.master) is not None:
            end(run_dir, master)
        raise
    return run_dir


def _spawn(project: Project, roles: Mapping[Role, int], log_level: LogLevel, deadline: float) -> dict[str, Any]:
    log = LogFile(log_dir(project) / "master.log")
    log_start = log.size
    # -P: a file such as queue.py where the user happens to be must not be taken for a module of Python's.
    argv = [sys.executable, "-P", "-m", "jfr_mp.supervisor", "--project", project.name]
    argv += ["--roles", ",".join(f"{role}={count}" for role, count in roles.items()), "--log-level", log_level]
    stderr = log.open()
    try:
        # The master leaves this process, which only hands over; so nobody here has to reap it one day.
        launcher = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr)
    finally:
        os.close(stderr)
    with launcher:
        report = _report(launcher, deadline)
    if report is None:
        lines = "\n".join(log.last_lines(log_start))
        raise StartFailed(f"the master did not start in time; its log {log.path} ends with:\n{lines}")
    if "error" in report:
        kind = getattr(errors, report["kind"], JfrMpError)
        raise kind(report["error"])
    return report


def _report(launcher: subprocess.Popen[bytes], deadline: float) -> dict[str, Any] | None:
    """Return what the master says about its start, or None where it ends or the time passes without a word."""
    assert launcher.stdout is not None
    readable, _, _ = select.select([launcher.stdout], [], [], max(0.0, deadline - time.monotonic()))
    line = launcher.stdout.readline() if readable else b""
    return json.loads(line) if line else None


def _wait_until_ready(run_dir: RunDir, deadline: float) -> None:
    with MasterClient(run_dir) as client:
        while True:
            roles = client.status().roles
            if all(role.state == State.RUNNING for role in roles):
                return
            late = time.monotonic() > deadline
            failed = [role for role in roles if role.state == State.FATAL or (late and role.state != State.RUNNING)]
            if failed:
                reasons = "\n".join(f"{role.name} ({role.state}): {role.last_error or 'no error'}" for role in failed)
                raise StartFailed(f"not every role process became ready, so all were ended:\n{reasons}")
            time.sleep(_ASK_EVERY)
