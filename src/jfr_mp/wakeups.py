"""How the loop of a process learns that there is work: what every bus offers, and the one without a master."""

from __future__ import annotations

import threading
from typing import Protocol

from jfr_mp.states import JobState


class Wakeups(Protocol):
    """The side of a bus that the loop sees."""

    @property
    def stop_requested(self) -> bool:
        """Whether the process should end after the step in hand."""

    def wait(self, timeout: float) -> set[JobState]:
        """Block until there is news or `timeout` seconds have passed; return the states that have new jobs."""

    def publish(self, state: JobState, worker: str, db_id: str) -> None:
        """Tell everybody that a job is now in `state`."""

    def report(self, state: str, doing: str | None = None, last_error: str | None = None) -> None:
        """Tell the master how this process is."""


class LocalWakeups:
    """Wake-ups inside one process, for a runner that no master supervises."""

    def __init__(self) -> None:
        self._news: set[JobState] = set()
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
        if not self._news and timeout > 0:
            self._event.wait(timeout)
        if not self._stop:
            self._event.clear()
        news, self._news = self._news, set()
        return news

    def publish(self, state: JobState, worker: str, db_id: str) -> None:
        """Remember the state for the next `wait`."""
        self._news.add(state)

    def report(self, state: str, doing: str | None = None, last_error: str | None = None) -> None:
        """Do nothing: there is no master to tell."""
