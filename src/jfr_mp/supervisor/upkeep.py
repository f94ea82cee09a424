"""The upkeep of a master: the logs of its role processes, hung steps, orphans."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Collection, Iterable

import psutil

from jfr_mp.log_entries import LogOutput
from jfr_mp.supervisor.child import Child
from jfr_mp.supervisor.logfile import LogFile

logger = logging.getLogger(__name__)

#: Seconds after the limit of a step within which its process exits by itself.
_EXIT_WITHIN = 30.0
#: The pid of the first process of a machine or container, which inherits all orphans.
_FIRST = 1


def show_logs(terminal: LogOutput | None, children: Iterable[Child]) -> None:
    """Show what is new in the logs of role processes, if there is a terminal."""
    if terminal is not None:
        for child in children:
            terminal.show(child.spec.name, child.log.new_lines())


def rotate_logs(children: Iterable[Child], own_log: LogFile | None) -> None:
    """Rotate the logs that have become large."""
    for log in [child.log for child in children] + ([own_log] if own_log else []):
        log.rotate()


class HungSteps:
    """Kills role processes that have exceeded the limit of a step and did not exit by themselves.

    The time of a step counts from its first report by the monotonic clock, because the other one may jump.
    """

    def __init__(self) -> None:
        self._reported: dict[tuple[object, ...], float] = {}

    def kill(self, children: Iterable[Child], now: float) -> None:
        """Look at what the role processes report; `now` is monotonic time in seconds."""
        reported: dict[tuple[object, ...], float] = {}
        for child in children:
            for step in child.condition.steps or ():
                key = (child.pid, step.step, step.db_id, step.since)
                reported[key] = self._reported.get(key, now)
                if now - reported[key] > step.limit + _EXIT_WITHIN:
                    logger.error(
                        "%s is killed: its step %s%s did not end within %g s",
                        *(child.spec.name, step.step, f" of job {step.db_id}" if step.db_id else "", step.limit),
                    )
                    child.signal(signal.SIGKILL)
        self._reported = reported


def reap_orphans(known: Collection[int | None]) -> None:
    """Reap processes that have ended, whose parents have ended before them, if this is the first process.

    In a container, jobs that outlive a role process become children of the master, and would stay zombies.

    Parameters
    ----------
    known
        The pids of the children that are reaped elsewhere.
    """
    if os.getpid() != _FIRST:
        return
    for orphan in psutil.Process().children():
        try:
            if orphan.pid not in known and orphan.status() == psutil.STATUS_ZOMBIE:
                os.waitpid(orphan.pid, os.WNOHANG)
                logger.debug("reaped the orphan %d", orphan.pid)
        except (psutil.NoSuchProcess, ChildProcessError):
            continue


def allow_early_end() -> None:
    """Have SIGTERM end a first process that does not handle signals yet; for others it does so anyway."""
    if os.getpid() == _FIRST:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
