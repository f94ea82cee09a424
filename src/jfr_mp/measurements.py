"""What role processes measure of their steps, on its way to the metrics of their master."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

#: The number of measurements that are kept while they cannot be sent; older ones are dropped.
_KEPT = 10_000


class StepMeasurement(NamedTuple):
    """One step of one job.

    Parameters
    ----------
    step, worker
        The step, and the worker of the job.
    outcome
        ``done``, ``retry`` or ``failed``.
    seconds
        How long the step took; None if its outcome was known from a survey of many jobs.
    """

    step: str
    worker: str
    outcome: str
    seconds: float | None


class StateMeasurement(NamedTuple):
    """One job that has left a state.

    Parameters
    ----------
    state, worker
        The state, and the worker of the job.
    seconds
        How long the job was in the state.
    """

    state: str
    worker: str
    seconds: float


class Measurements:
    """Collects the measurements of all lanes of a process once its master wants them; any thread may use it.

    Parameters
    ----------
    wake
        Called when there is something to be sent again.

    Attributes
    ----------
    wanted
        Whether the master wants any.
    """

    def __init__(self, wake: Callable[[], None] = lambda: None) -> None:
        self.wanted = False
        self._wake = wake
        self._kept: deque[StepMeasurement | StateMeasurement] = deque(maxlen=_KEPT)
        self._lock = threading.Lock()

    def note(self, measurement: StepMeasurement | StateMeasurement) -> None:
        """Keep a measurement, if the master wants any."""
        if self.wanted:
            with self._lock:
                first = not self._kept
                self._kept.append(measurement)
            if first:
                self._wake()

    @property
    def pending(self) -> bool:
        """Whether there is something to be sent."""
        return bool(self._kept)

    def take(self, most: int) -> tuple[list[StepMeasurement], list[StateMeasurement]]:
        """Return the oldest measurements, at most `most`, and forget them."""
        with self._lock:
            taken = [self._kept.popleft() for _ in range(min(most, len(self._kept)))]
        steps = [each for each in taken if isinstance(each, StepMeasurement)]
        return steps, [each for each in taken if isinstance(each, StateMeasurement)]
