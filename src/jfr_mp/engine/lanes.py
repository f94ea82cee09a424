"""Lanes: one loop per thread, so that a hanging host delays only its own jobs.

The main thread handles the bus and never blocks, so that commands are received whatever the lanes are doing. It also
sends the messages of the lanes, because the sockets of a bus belong to one thread.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence

from jfr_mp.engine.loop import Loop, Task
from jfr_mp.engine.wakeups import LocalWakeups, Wakeups
from jfr_mp.model import Condition
from jfr_mp.states import JobState

#: Seconds between two checks, while stopping, of whether a lane has finished its step.
_STOPPING_GLANCE = 0.05
#: The longest time in seconds that the main thread waits for the bus.
_LONGEST_WAIT = 60.0

Saying = Callable[[Wakeups], None]


class Lane(LocalWakeups):
    """A loop in a thread of its own, and the wake-ups of its tasks.

    Parameters
    ----------
    name
        The name of the thread, for logs and debuggers.
    make_tasks
        Returns the tasks, which get their wake-ups from this lane.
    say
        Passes a message to the main thread, which sends it on the bus.
    """

    def __init__(
        self, name: str, make_tasks: Callable[[Wakeups], Sequence[Task]], say: Callable[[Saying], None]
    ) -> None:
        super().__init__()
        self._say = say
        self._thread = threading.Thread(target=Loop(make_tasks(self), self).run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def ended(self, timeout: float) -> bool:
        """Wait for the end of the loop; return whether it has ended."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def deliver(self, news: Iterable[JobState]) -> None:
        """Wake the tasks that wait for one of these states."""
        for state in news:
            super().publish(state)

    def publish(self, state: JobState) -> None:
        """Publish to all processes that a job is now in `state`."""
        self._say(lambda bus: bus.publish(state))

    def report(self, condition: Condition) -> None:
        """Report the condition of this process to the master."""
        self._say(lambda bus: bus.report(condition))


class Lanes:
    """Run lanes until a stop is requested on the bus.

    Parameters
    ----------
    bus
        The bus on which events are received and sent; used only by the thread that calls `run`.
    """

    def __init__(self, bus: Wakeups) -> None:
        self._bus = bus
        self._sayings: queue.SimpleQueue[Saying] = queue.SimpleQueue()
        self._lanes: list[Lane] = []

    def open(self, name: str, make_tasks: Callable[[Wakeups], Sequence[Task]]) -> None:
        """Add a lane, which is started by `run`; see `Lane` for the parameters."""
        self._lanes.append(Lane(name, make_tasks, self._say))

    def report(self, condition: Condition) -> None:
        """Report the condition of this process to the master; any thread may call it."""
        self._say(lambda bus: bus.report(condition))

    def deliver(self, news: Iterable[JobState]) -> None:
        """Wake the tasks of this process that wait for one of these states; any thread may call it."""
        for lane in self._lanes:
            lane.deliver(news)

    def run(self, until: float = float("inf")) -> None:
        """Run all lanes until a stop is requested or the monotonic time `until`; return after their current steps."""
        for lane in self._lanes:
            lane.start()
        while not self._bus.stop_requested and (now := time.monotonic()) < until:
            news = self._bus.wait(min(_LONGEST_WAIT, until - now))
            self._pass_on()
            self.deliver(news)
        for lane in self._lanes:
            lane.request_stop()
        for lane in self._lanes:
            while not lane.ended(_STOPPING_GLANCE):
                self._pass_on()
        self._pass_on()

    def _say(self, saying: Saying) -> None:
        self._sayings.put(saying)
        self._bus.wake()

    def _pass_on(self) -> None:
        """Send the messages of the lanes on the bus."""
        while not self._sayings.empty():
            self._sayings.get()(self._bus)
