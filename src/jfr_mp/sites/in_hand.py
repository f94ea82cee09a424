"""The steps that a process is performing now, so that one that hangs is noticed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from jfr_mp.model import StepInHand, utcnow
from jfr_mp.step_table import Step

#: Seconds after which a step is shown in the status, unless its limit is short.
_SHOWN_AFTER = 5.0


@dataclass(frozen=True)
class Hand:
    """A step that a lane is performing.

    Parameters
    ----------
    report
        What the status shows of it.
    lock_id
        The lock of its job; None for a survey, which examines many jobs.
    begun
        When it began, in monotonic seconds.
    """

    report: StepInHand
    lock_id: str | None
    begun: float


class StepsInHand:
    """Follows the steps of all lanes of a process.

    Parameters
    ----------
    limits
        The limits in seconds that differ from those of the step table, by the name of the step.
    clock
        Monotonic time in seconds.
    """

    def __init__(self, limits: Mapping[str, float], clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._lock = threading.Lock()
        self._hands: dict[int, Hand] = {}
        self._number = 0

    @contextmanager
    def of(self, step: Step, db_id: str | None = None, lock_id: str | None = None) -> Iterator[None]:
        """Follow a step until its end.

        Parameters
        ----------
        db_id, lock_id
            The job and its lock; None for a survey.
        """
        limit = self._limits.get(step.name, step.limit)
        report = StepInHand(step=step.name, db_id=db_id, since=utcnow(), limit=limit)
        with self._lock:
            self._number += 1
            number = self._number
            self._hands[number] = Hand(report, lock_id, self._clock())
        try:
            yield
        finally:
            with self._lock:
                del self._hands[number]

    def all(self) -> list[StepInHand]:
        """Return the steps that are being performed now."""
        with self._lock:
            return [hand.report for hand in self._hands.values()]

    def slow(self) -> list[Hand]:
        """Return the steps that have taken long enough to be shown."""
        return self._longer_than(lambda limit: min(_SHOWN_AFTER, limit / 2))

    def overdue(self) -> list[Hand]:
        """Return the steps that have exceeded their limits."""
        return self._longer_than(lambda limit: limit)

    def _longer_than(self, seconds: Callable[[float], float]) -> list[Hand]:
        now = self._clock()
        with self._lock:
            hands = list(self._hands.values())
        return [hand for hand in hands if now - hand.begun > seconds(hand.report.limit)]
