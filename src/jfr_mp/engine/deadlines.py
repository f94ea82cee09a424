"""The deadlines of steps: a step that takes longer than its limit is given up, and its process is replaced.

A thread cannot be stopped from outside. Therefore the process records what happened, under the lock that the step still
holds, and then exits. Its master evicts it, which frees its locks, and starts another one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from jfr_mp.database.connection import QueueDatabase
from jfr_mp.database.hung_steps import note_hung_step
from jfr_mp.engine.loop import Task
from jfr_mp.model import Condition, StepInHand
from jfr_mp.sites.in_hand import Hand, StepsInHand

logger = logging.getLogger(__name__)

#: Seconds between two checks.
_EVERY = 1.0


def deadlines(
    db: QueueDatabase, in_hand: StepsInHand, report: Callable[[Condition], None], give_up: Callable[[], None]
) -> Task:
    """Return the task that reports slow steps and gives up the jobs that exceed their limits.

    Parameters
    ----------
    db
        The queue database.
    in_hand
        The steps of this process.
    report
        Reports the condition of this process to its master.
    give_up
        Ends this process, so that it is replaced. It may return if the process cannot be replaced.
    """
    shown: list[StepInHand] = []
    given_up: set[Hand] = set()

    def run() -> None:
        slow = [hand.report for hand in in_hand.slow()]
        if slow != shown:
            shown[:] = slow
            report(Condition(steps=slow))
        overdue = set(in_hand.overdue())
        for hand in overdue - given_up:
            _give_up(db, hand)
        given_up.clear()
        given_up.update(overdue)
        if overdue:
            give_up()

    return Task("deadlines", _EVERY, run)


def _give_up(db: QueueDatabase, hand: Hand) -> None:
    step = hand.report
    why = f"the step {step.step} did not end within {step.limit:g} s, so its process was replaced"
    logger.error("%s: %s", f"job {step.db_id}" if step.db_id else "survey", why)
    if step.db_id and hand.lock_id:
        note_hung_step(db, step.db_id, hand.lock_id, why)
