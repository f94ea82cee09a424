"""How many allocations a batch worker needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from jfr_mp.batch.supply import Offer, batches_to_submit
from jfr_mp.config.workers import BatchConfig

QUEUED = Offer()
FULL = Offer(running=4)
DRAINING = Offer(takes_jobs=False, running=1)


@pytest.mark.parametrize(
    ("waiting", "offers", "max_jobs", "wanted"),
    [
        pytest.param(0, [], 2, 0, id="nothing waits"),
        pytest.param(1, [], 2, 1, id="one job needs one"),
        pytest.param(4, [], 2, 1, id="four fit into one"),
        pytest.param(5, [], 2, 2, id="five do not"),
        pytest.param(200, [], 2, 2, id="never more than it may have"),
        pytest.param(200, [], None, 50, id="no limit"),
        pytest.param(200, [FULL], 2, 1, id="one is there"),
        pytest.param(200, [FULL, FULL], 2, 0, id="as many as it may have are there"),
        pytest.param(200, [FULL, FULL, FULL], 2, 0, id="more than it may have are there"),
        pytest.param(4, [QUEUED], 2, 0, id="the one that is queued takes them"),
        pytest.param(5, [QUEUED], 2, 1, id="the one that is queued takes four"),
        pytest.param(3, [Offer(running=1)], 2, 0, id="there are free slots"),
        pytest.param(3, [Offer(running=2)], 2, 1, id="there are not enough free slots"),
        pytest.param(3, [DRAINING], 2, 1, id="its free slots take nothing any more"),
        pytest.param(3, [DRAINING, DRAINING], 2, 0, id="but they count until they are gone"),
        pytest.param(3, [], 0, 0, id="none allowed"),
    ],
)
def test_allocations(waiting: int, offers: list[Offer], max_jobs: int | None, wanted: int) -> None:
    batch = BatchConfig(jobs_handle_dir=Path("/handle"), work_dir=Path("/batches"), parallel_jobs=4)
    assert batches_to_submit(waiting, offers, batch, max_jobs) == wanted


@pytest.mark.parametrize(("parallel", "per_batch", "wanted"), [(None, None, 6), (4, 2, 3), (4, 100, 2)])
def test_the_slots_of_an_allocation(parallel: int | None, per_batch: int | None, wanted: int) -> None:
    batch = BatchConfig(
        jobs_handle_dir=Path("/handle"), work_dir=Path("/b"), parallel_jobs=parallel, max_jobs_per_batch=per_batch
    )
    assert batches_to_submit(6, [], batch, None) == wanted
