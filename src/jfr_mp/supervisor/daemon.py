"""A master in the background: how it is launched, leaves its terminal, and says how its start went.

Both ends of the report are here. The master writes one line of JSON to its standard output, a pipe, as soon as it can
be reached or has failed; the process that launched it waits for that line.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, ValidationError

from jfr_mp import errors
from jfr_mp.bus.paths import RunDir
from jfr_mp.errors import JfrMpError, StartFailed
from jfr_mp.supervisor.logfile import LogFile


class _StartReport(BaseModel):
    """What a master says of its start: its directory, or the error that kept it from starting."""

    run_dir: Path | None = None
    error: str = ""
    error_class: str = JfrMpError.__name__


def launch(argv: Sequence[str], log: LogFile, deadline: float, undo: Callable[[RunDir], None]) -> RunDir:
    """Launch a master that outlives this process, and wait until it can be reached.

    Parameters
    ----------
    argv
        Its command line.
    log
        Where its standard error goes.
    deadline
        The monotonic time after which the launch has failed.
    undo
        Called on an interrupt if the master can already be reached.

    Returns
    -------
    RunDir
        The directory of the master.

    Raises
    ------
    JfrMpError
        What kept the master from starting.
    StartFailed
        If it exits, or does not report, before the deadline.
    """
    log_start = log.size
    stderr = log.open()
    try:
        # This child only forks the master and exits, so the master is no child of this process, which need not reap it.
        launcher = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=stderr)
    finally:
        os.close(stderr)
    with launcher:
        try:
            report = _receive(launcher, deadline)
        except BaseException:  # an interrupt; a master that reports later finds its pipe closed, and ends
            if (report := _receive(launcher, time.monotonic())) is not None and report.run_dir is not None:
                undo(RunDir(report.run_dir))
            raise
    if report is None:
        lines = "\n".join(log.last_lines(log_start))
        raise StartFailed(f"the master did not start in time; its log {log.path} ends with:\n{lines}")
    if report.run_dir is None:
        raise getattr(errors, report.error_class, JfrMpError)(report.error)
    return RunDir(report.run_dir)


def _receive(launcher: subprocess.Popen[bytes], deadline: float) -> _StartReport | None:
    """Return the report of a master, or None if it exits or the deadline passes without one."""
    assert launcher.stdout is not None
    readable, _, _ = select.select([launcher.stdout], [], [], max(0.0, deadline - time.monotonic()))
    try:
        return _StartReport.model_validate_json(launcher.stdout.readline()) if readable else None
    except ValidationError:
        return None


def detach() -> None:
    """Go on in a process that has neither the parent nor the terminal of this one; call it before the first thread."""
    if os.fork():
        os._exit(0)
    os.setsid()


def report_up(run_dir: RunDir) -> None:
    """Report to the process that launched this master that it can be reached.

    Raises
    ------
    BrokenPipeError
        If that process has exited.
    """
    _send(_StartReport(run_dir=run_dir.path))


def report_failure(error: JfrMpError) -> None:
    """Report to the process that launched this master why it does not start, unless that process has exited."""
    with suppress(BrokenPipeError):
        _send(_StartReport(error=str(error), error_class=type(error).__name__))


def _send(report: _StartReport) -> None:
    """Write the one report, and close the pipe to the process that waits for it."""
    try:
        os.write(sys.stdout.fileno(), report.model_dump_json().encode() + b"\n")
    finally:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
