"""Lanes: one loop a thread, so that a host that hangs holds up nobody but its own jobs.

The main thread keeps the bus and the tasks that concern no host. Each lane runs the tasks of the workers of one host in
a loop of its own; what it has to say goes through the main thread, because the sockets of a bus belong to one thread.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence

from jfr_mp.loop import Loop, Task
from jfr_mp.states import JobState
from jfr_mp.wakeups import LocalWakeups, Wakeups

logger = logging.getLogger(__name__)

#: Makes the tasks of a lane, which get their wake-ups from the lane.
TaskMaker = Callable[[Wakeups], Sequence[Task]]


class LaneWakeups(LocalWakeups):
    """The wake-ups of one lane; what the lane publishes goes to everybody, through the main thread."""

    def __init__(self, say: Callable[[Callable[[Wakeups], None]], None]) -> None:
        super().__init__()
        self._say = say

    def deliver(self, news: set[JobState]) -> None:
        """Wake this lane."""
        for state in news:
            super().publish(state, "", "")

    def publish(self, state: JobState, worker: str, db_id: str) -> None:
        """Tell everybody that a job is now in `state`."""
        self._say(lambda bus: bus.publish(state, worker, db_id))

    def report(self, state: str, doing: str | None = None, last_error: str | None = None) -> None:
        """Tell the master how this process is."""
        self._say(lambda bus: bus.report(state, doing, last_error))
