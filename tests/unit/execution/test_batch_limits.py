"""When an allocation takes another job, and when it is over."""

from __future__ import annotations

import pytest

from jfr_mp.execution.batch_limits import BatchLimits


@pytest.mark.parametrize(
    ("limits", "age", "taken", "takes"),
    [
        (BatchLimits(), 1e6, 10**6, True),
        (BatchLimits(max_time=100), 100, 0, True),
        (BatchLimits(max_time=100), 101, 0, False),
        (BatchLimits(max_jobs=5), 0, 4, True),
        (BatchLimits(max_jobs=5), 0, 5, False),
        (BatchLimits(max_time=0, max_jobs=0), 1e6, 10**6, True),
    ],
)
def test_taking_jobs(limits: BatchLimits, age: float, taken: int, takes: bool) -> None:
    assert limits.takes_jobs(age, taken) is takes


@pytest.mark.parametrize(
    ("limits", "running", "idle", "over"),
    [
        pytest.param(BatchLimits(), 0, 59, False, id="it waits"),
        pytest.param(BatchLimits(), 0, 61, True, id="nothing came"),
        pytest.param(BatchLimits(), 1, 0, False, id="a job of its own may make work"),
        pytest.param(BatchLimits(max_wait=None), 0, 1e6, False, id="it waits for ever"),
        pytest.param(BatchLimits(max_wait=0), 0, 1e6, False, id="0 is no limit, as with jobflow-remote"),
        pytest.param(BatchLimits(max_jobs=3), 0, 0, True, id="it has had its jobs"),
        pytest.param(BatchLimits(max_jobs=3), 2, 0, False, id="its last jobs run"),
        pytest.param(BatchLimits(max_time=10), 0, 0, True, id="it is too old"),
        pytest.param(BatchLimits(max_time=10), 1, 0, False, id="it is too old, but its last job runs"),
    ],
)
def test_the_end(limits: BatchLimits, running: int, idle: float, over: bool) -> None:
    assert limits.is_over(age=50, taken=3, running=running, idle=idle) is over
