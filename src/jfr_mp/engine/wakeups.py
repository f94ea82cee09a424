"""How a loop learns that there is work: what every bus offers, and the one inside a process."""

from __future__ import annotations

import queue
import threading
from typing import Protocol

from jfr_mp.model import Condition
from jfr_mp.states import JobState


class Wakeups(Protocol):
    """The side of a bus that the loop sees."""

    @property
    def stop_requested(self) -> bool:
        """Whether the process should end after the step in hand."""

    def wait(self, timeout: float) -> set[JobState]:
        """Block until there is news or `timeout` seconds have passed; return the states that have new jobs."""

    def wake(self) -> None:
        """End the `wait` of now, or the next one; the only method that any thread may call."""

    def publish(self, state: JobState, worker: str, db_id: str) -> None:
        """Tell everybody that a job is now in `state`."""

    def report(self, condition: Condition) -> None:
        """Tell the master how this process is."""


class LocalWakeups:
    """Wake-ups inside one process: for a runner that no master supervises, and for each lane."""

    def __init__(self) -> None:
        self._news: queue.SimpleQueue[JobState] = queue.SimpleQueue()
        self._event = threading.Event()
        self._stop = False

    @property
    def stop_requested(self) -> bool:
        """Whether `request_stop` was called."""
        return self._stop

    def request_stop(self) -> None:
        """End the loop after the step in hand; safe in a signal handler."""
        self._stop = True
        self._event.set()

    def wait(self, timeout: float) -> set[JobState]:
        """Return the states published since the last call, at once if there are any."""
        if timeout > 0:
            self._event.wait(timeout)
        # Cleared before the reading: what is published in between ends the next wait at once.
        if not self._stop:
            self._event.clear()
        news = set()
        while not self._news.empty():
            news.add(self._news.get())
        return news

    def wake(self) -> None:
        """End the `wait` of now, or the next one."""
        self._event.set()

    def publish(self, state: JobState, worker: str, db_id: str) -> None:
        """Remember the state for the next `wait`, and end the one of now."""
        self._news.put(state)
        self._event.set()

    def report(self, condition: Condition) -> None:
        """Do nothing: there is no master to tell."""
