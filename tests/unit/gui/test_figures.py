"""Pictures as data: the layers of a flow, folding, and bars."""

from __future__ import annotations

import time
from datetime import timedelta
from itertools import pairwise

from jfr_mp.database.overview import EndedJobs, FlowMember
from jfr_mp.gui.figures import bars, drawing, mean_phases
from jfr_mp.states import JobState


def job(number: int, name: str, *parents: int, state: JobState = JobState.READY) -> FlowMember:
    return FlowMember(str(number), f"u{number}", 1, name, state, [f"u{parent}" for parent in parents])


def test_parents_are_above_their_children() -> None:
    made = drawing([job(1, "a"), job(2, "b", 1), job(3, "c", 1), job(4, "d", 2, 3), job(5, "e", 4, 1)])
    heights = {node.name: node.y for node in made.nodes}
    assert heights["a"] < heights["b"] == heights["c"] < heights["d"] < heights["e"]
    assert len(made.edges) == 6
    assert not made.folded
    assert len({(node.x, node.y) for node in made.nodes}) == 5


def test_a_large_flow_is_folded() -> None:
    # Given 5,000 jobs: one, many of the same name in two states, and one behind them
    many = [job(n, "add", 0, state=JobState.COMPLETED if n % 2 else JobState.FAILED) for n in range(1, 4999)]
    made = drawing([job(0, "start"), *many, job(5000, "total", *range(1, 4999))])
    assert made.folded
    assert [(node.name, len(node.jobs)) for node in made.nodes] == [("start", 1), ("add", 4998), ("total", 1)]
    assert len(made.edges) == 2
    assert made.nodes[1].tones == [("done", 0.0, 0.5), ("failed", 0.5, 0.5)]


def test_a_long_chain_a_cycle_and_nothing() -> None:
    assert len(drawing([job(n, f"link {n}", *([n - 1] if n else [])) for n in range(3000)]).nodes) == 400
    assert len(drawing([job(1, "a", 2), job(2, "b", 1)]).nodes) == 2
    assert drawing([]).nodes == ()


def test_bars_end_now_and_have_no_gap() -> None:
    made = bars({}, timedelta(hours=1), 60)
    assert len(made) == 60
    assert {later.start - earlier.start for earlier, later in pairwise(made)} == {timedelta(minutes=1)}


def test_the_times_of_phases_are_means_of_all_jobs() -> None:
    # Given three jobs in one part, and one in another whose start is not known
    now = int(time.time() // 60)
    ends = {
        now: EndedJobs(2, 1, {"waiting": 10.0, "running": 2.0, "closing": 1.0}),
        now - 5: EndedJobs(1, 0, {"closing": 5.0}),
    }
    made = bars(ends, timedelta(hours=1), 60)
    assert (made[-1].ended.completed, made[-1].ended.failed) == (2, 1)
    assert mean_phases(made) == {"waiting": 10.0, "running": 2.0, "closing": 2.0}
    assert made[-6].layers == [("closing", "queued", 0.0, 5.0)]
    assert made[-1].layers == [
        ("waiting", "idle", 0.0, 10.0),
        ("running", "running", 10.0, 2.0),
        ("closing", "queued", 12.0, 1.0),
    ]
