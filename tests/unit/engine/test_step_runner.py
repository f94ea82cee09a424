"""How many jobs a step claims at once."""

from __future__ import annotations

from jfr_mp.engine.step_runner import Pace
from jfr_mp.step_table import COMPLETE, UPLOAD


def test_quick_steps_claim_more_and_slow_ones_one_by_one() -> None:
    pace = Pace()
    first = pace.width(UPLOAD)
    widths = []
    for _ in range(4):
        pace.note(UPLOAD, pace.width(UPLOAD), 0.01)
        widths.append(pace.width(UPLOAD))
    assert first < widths[0] <= widths[-1] == UPLOAD.claims

    # A slow one leaves the jobs to other processes, for this step alone
    pace.note(UPLOAD, 2, 60.0)
    assert pace.width(UPLOAD) == 1
    assert pace.width(COMPLETE) == first


def test_a_turn_without_jobs_says_nothing_about_the_pace() -> None:
    pace = Pace()
    pace.note(UPLOAD, 1, 60.0)
    pace.note(UPLOAD, 0, 0.0)
    assert pace.width(UPLOAD) == 1
