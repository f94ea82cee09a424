"""The loop of a process: what is due is done, wake-ups first, timers second."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from jfr_mp.database.faults import TRANSIENT
from jfr_mp.engine.wakeups import Wakeups
from jfr_mp.model import Condition
from jfr_mp.states import JobState

logger = logging.getLogger(__name__)

#: Seconds before a task that raised is tried again: doubled each time, up to the second figure.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 60.0
#: The same for a database that is away, which usually comes back soon.
_LONGEST_PAUSE_FOR_DATABASE = 2.0


@dataclass
class Task:
    """Something that a process does again and again.

    Parameters
    ----------
    name
        For logs and status.
    interval
        The longest time between two runs, in seconds.
    run
        Does one piece of work; returns the seconds until it wants its next turn, None for `interval`.
    wakes
        States whose arrival makes the task due at once.
    """

    name: str
    interval: float
    run: Callable[[], float | None]
    wakes: frozenset[JobState] = frozenset()
    due: float = 0.0
    failures: int = field(default=0, repr=False)


class Loop:
    """Runs tasks until it is told to stop.

    Each task does one piece of work in its turn, so that a thousand uploads don't keep one download waiting.

    Parameters
    ----------
    tasks
        In the order in which they take turns.
    wakeups
        Where news comes from.
    """

    def __init__(self, tasks: Sequence[Task], wakeups: Wakeups) -> None:
        self._tasks = tasks
        self._wakeups = wakeups

    def run(self, until: float = float("inf")) -> None:
        """Run until a stop is requested or the monotonic time `until`."""
        while not self._wakeups.stop_requested and time.monotonic() < until:
            next_due = min((task.due for task in self._tasks), default=until)
            timeout = max(0.0, min(next_due, until) - time.monotonic())
            self._wake(self._wakeups.wait(min(timeout, 3600.0)))
            self._turn()

    def _wake(self, news: Iterable[JobState]) -> None:
        for task in self._tasks:
            if not task.wakes.isdisjoint(news) and not task.failures:
                task.due = 0.0

    def _turn(self) -> None:
        for task in self._tasks:
            if self._wakeups.stop_requested:
                return
            if task.due <= time.monotonic():
                self._run(task)

    def _run(self, task: Task) -> None:
        try:
            pause = task.run()
        except Exception as error:  # one failing task must not take the others of the process with it
            self._pause(task, error)
            return
        if task.failures:
            task.failures = 0
            self._wakeups.report(Condition())
            logger.info("%s works again", task.name)
        task.due = time.monotonic() + (task.interval if pause is None else pause)

    def _pause(self, task: Task, error: Exception) -> None:
        """Put a task that raised off for a while, longer each time."""
        away = isinstance(error, TRANSIENT)
        longest = _LONGEST_PAUSE_FOR_DATABASE if away else _LONGEST_PAUSE
        pause = min(longest, _FIRST_PAUSE * 2**task.failures)
        if away and not task.failures:
            logger.warning("the database is away, %s waits for it: %s", task.name, error)
        elif not away:
            logger.exception("%s failed; it is tried again in %.3g s", task.name, pause)
        task.failures += 1
        task.due = time.monotonic() + pause
        complaint = f"{task.name}: {type(error).__name__}: {error}"[:500]
        self._wakeups.report(Condition(last_error=complaint))
