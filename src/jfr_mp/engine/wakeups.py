"""Wake-ups: how a loop learns that there is work, from a bus or within a process."""

from __future__ import annotations

import queue
import threading
from typing import Protocol

from jfr_mp.model import Condition
from jfr_mp.states import JobState


class Wakeups(Protocol):
    """The interface of a bus that a loop uses."""

    @property
    def stop_requested(self) -> bool:
        """Whether the process should stop after its current step."""

    def wait(self, timeout: float) -> set[JobState]:
        """Wait for an event, at most `timeout` seconds; return the states that have new jobs."""

    def wake(self) -> None:
        """End the current `wait`, or the next one; the only method that any thread may call."""

    def publish(self, state: JobState) -> None:
        """Publish to all processes that a job is now in `state`."""

    def report(self, condition: Condition) -> None:
        """Report the condition of this process to the master."""


class LocalWakeups:
    """Wake-ups within one process: for a runner without a master, and for each lane."""

    def __init__(self) -> None:
        self._news: queue.SimpleQueue[JobState] = queue.SimpleQueue()
        self._event = threading.Event()
        self._stop = False

    @property
    def stop_requested(self) -> bool:
        """Whether `request_stop` was called."""
        return self._stop

    def request_stop(self) -> None:
        """Stop the loop after its current step; safe to call in a signal handler."""
        self._stop = True
        self._event.set()

    def wait(self, timeout: float) -> set[JobState]:
        """Return the states published since the last call, at once if there are any."""
        if timeout > 0:
            self._event.wait(timeout)
        # Cleared before the states are read, so that a state published in between ends the next wait at once.
        if not self._stop:
            self._event.clear()
        news = set()
        while not self._news.empty():
            news.add(self._news.get())
        return news

    def wake(self) -> None:
        """End the current `wait`, or the next one."""
        self._event.set()

    def publish(self, state: JobState) -> None:
        """Add the state to the result of `wait`, and end the current one."""
        self._news.put(state)
        self._event.set()

    def report(self, condition: Condition) -> None:
        """Do nothing, because there is no master."""
