"""Batch workers on a real Slurm, with all role processes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from tests.integration.batch.conftest import BatchWorker, exactly_once
from tests.support.processes import run_cli
from tests.support.slurm import Slurm
from tests.support.waiting import wait_until

JOBS = 200


@pytest.fixture
def worker(slurm: Slurm, make_worker: Callable[..., BatchWorker]) -> Iterator[BatchWorker]:
    worker = make_worker(
        scheduler_type="slurm", resources={"partition": "main", "time": "00:05:00"}, batch={"max_wait": 5}
    )
    started = run_cli("start", "--num-transfer", "2", "--num-complete", "2", env=worker.project.env)
    assert started.returncode == 0, started.stdout + started.stderr
    yield worker
    run_cli("stop", env=worker.project.env)


class Queue:
    """Watches what squeue shows until the end of its context."""

    def __init__(self, slurm: Slurm) -> None:
        self._slurm = slurm
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.most = 0

    def _run(self) -> None:
        while not self._stop.wait(0.1):
            self.most = max(self.most, len(self._slurm.run("squeue", "-h", "-o", "%i").split()))

    def __enter__(self) -> Queue:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def cancel_an_allocation(slurm: Slurm, worker: BatchWorker) -> None:
    slurm.run("scancel", worker.batches(batch_state="RUNNING")[0]["process_id"])


def kill_a_batch_process(_slurm: Slurm, worker: BatchWorker) -> None:
    worker.processes()[0].kill()


@pytest.mark.timeout(400)
@pytest.mark.parametrize("strike", [cancel_an_allocation, kill_a_batch_process])
def test_many_jobs_and_an_allocation_that_ends_too_early(
    slurm: Slurm, worker: BatchWorker, strike: Callable[[Slurm, BatchWorker], None]
) -> None:
    # Given many jobs for two allocations of four slots
    with Queue(slurm) as queue:
        worker.submit(JOBS)

        # When one of them ends in the middle, with jobs in its slots
        wait_until(lambda: len(worker.signatures()) >= JOBS // 4, 200, "a quarter of the jobs")
        worker.gate.touch()
        strike(slurm, worker)

        # Then another one takes its place, which there is time for as no job ends
        wait_until(lambda: len(worker.batches()) >= 3, 120, "a third allocation")
        worker.gate.unlink()

        # And each job is run to its end once
        wait_until(lambda: worker.states() == {"COMPLETED": JOBS}, 300, f"all jobs; there are {worker.states()}")
        assert worker.signatures() == exactly_once(JOBS)

        # And the allocations go when there is no more work
        wait_until(lambda: not slurm.run("squeue", "-h", "-o", "%i"), 60, "the end of the allocations")
    wait_until(lambda: not worker.batches(batch_state={"$ne": "FINISHED"}), 60, "their documents")

    # And there never were more than two
    assert queue.most == 2
