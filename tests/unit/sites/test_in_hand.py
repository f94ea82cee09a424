from __future__ import annotations

from jfr_mp.sites.in_hand import StepsInHand
from jfr_mp.step_table import COMPLETE, POLL


def test_steps_are_slow_and_then_overdue() -> None:
    # Given a step with a short limit inside of a survey with the limit of the step table
    now = 0.0
    steps = StepsInHand({"complete": 4}, lambda: now)
    with steps.of(POLL), steps.of(COMPLETE, "12", "lock"):
        # When half of the limit is over, then the short one is shown; after all of it, it is overdue
        assert not steps.slow()
        now = 3
        assert [(hand.report.step, hand.report.db_id, hand.lock_id) for hand in steps.slow()] == [
            ("complete", "12", "lock")
        ]
        now = 6
        assert [hand.report.step for hand in steps.slow()] == ["poll", "complete"]
        assert [hand.report.step for hand in steps.overdue()] == ["complete"]
    # When they have ended, then nothing is left of them
    assert not steps.slow()
