"""The loop of a lane: it runs the tasks that are due, by wake-ups first and by timers second."""

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

#: Seconds before a task that raised is run again: doubled each time, up to the second value.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 60.0
#: The limit if the database is unavailable, which is usually short.
_LONGEST_PAUSE_FOR_DATABASE = 2.0


@dataclass
class Task:
    """A recurring task of a lane.

    Parameters
    ----------
    name
        The name for logs and status.
    interval
        The time between two runs, in seconds.
    run
        Does one piece of work and returns the seconds until its next turn, or None if there was nothing to do.
    wakes
        The states that make the task due as soon as a job enters them.
    longest
        The interval is doubled with each run that had nothing to do, up to this many seconds; None for no doubling.
    at_once
        Whether a wake-up makes the task due at once, or only ends the doubling, so that it is due after its interval.
    """

    name: str
    interval: float
    run: Callable[[], float | None]
    wakes: frozenset[JobState] = frozenset()
    longest: float | None = None
    at_once: bool = True
    due: float = 0.0
    idle: int = field(default=0, repr=False)
    failures: int = field(default=0, repr=False)


class Loop:
    """Run tasks until a stop is requested.

    Each task does one piece of work per turn, so that a thousand uploads do not delay a download.

    Parameters
    ----------
    tasks
        The tasks, in the order in which they take turns.
    wakeups
        The source of events.
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
                task.due, task.idle = 0.0 if task.at_once else min(task.due, time.monotonic() + task.interval), 0

    def _turn(self) -> None:
        for task in self._tasks:
            if self._wakeups.stop_requested:
                return
            if task.due <= time.monotonic():
                self._run(task)

    def _run(self, task: Task) -> None:
        try:
            pause = task.run()
        except Exception as error:  # noqa: BLE001 - a failing task must not stop the other tasks of the process
            # What a task waits for may be closed while the process stops.
            if not self._wakeups.stop_requested:
                self._pause(task, error)
            return
        if task.failures:
            task.failures = 0
            self._wakeups.report(Condition())
            logger.info("%s works again", task.name)
        task.idle = task.idle + 1 if pause is None else 0
        task.due = time.monotonic() + (_idle_pause(task) if pause is None else pause)

    def _pause(self, task: Task, error: Exception) -> None:
        """Postpone a task that raised, longer each time."""
        unavailable = isinstance(error, TRANSIENT)
        longest = _LONGEST_PAUSE_FOR_DATABASE if unavailable else _LONGEST_PAUSE
        pause = min(longest, _FIRST_PAUSE * 2**task.failures)
        if unavailable and not task.failures:
            logger.warning("the database is unavailable, %s waits for it: %s", task.name, error)
        elif not unavailable:
            logger.exception("%s failed; retrying in %.3g s", task.name, pause)
        task.failures += 1
        task.due = time.monotonic() + pause
        complaint = f"{task.name}: {type(error).__name__}: {error}"[:500]
        self._wakeups.report(Condition(last_error=complaint))


def _idle_pause(task: Task) -> float:
    """Return the seconds until a task looks again that had nothing to do for `task.idle` times."""
    if task.longest is None:
        return task.interval
    # The exponent is bounded, because a task may be idle for weeks.
    return max(task.interval, min(task.longest, task.interval * 2.0 ** min(task.idle - 1, 30)))
