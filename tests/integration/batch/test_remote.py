"""A batch worker that is reached by SSH, with its allocations in a real Slurm."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from jfr_mp import Runner
from tests.integration.batch.conftest import LIGHT, BatchWorker, exactly_once
from tests.support.cluster import Cluster
from tests.support.waiting import wait_until

JOBS = 8


@pytest.fixture
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()


@pytest.mark.timeout(300)
def test_jobs_in_allocations_on_another_machine(
    cluster: Cluster,
    make_worker: Callable[..., BatchWorker],
    new_runner: Callable[[], Runner],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Given more jobs than slots
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    fields = cluster.worker(
        tmp_path / "it's far é",
        execution_cmd=LIGHT,
        pre_run=f"export PATH={Path(sys.executable).parent}:$PATH",
        resources={"partition": "main", "time": "00:05:00"},
    )
    worker = make_worker(**fields, batch={"parallel_jobs": 2})
    worker.gate.touch()
    worker.submit(JOBS)
    runner = new_runner()

    # When they run, and all connections break in the middle
    def some_run() -> bool:
        runner.checkout()
        runner.advance_state(["CHECKED_OUT", "UPLOADED"])
        runner.update_batch_jobs()
        return worker.states().get("BATCH_RUNNING", 0) >= 2

    wait_until(some_run, 100, f"jobs that run; there are {worker.states()}")
    assert len(cluster.slurm.run("squeue", "-h", "-o", "%i").split()) <= 2
    cluster.sshd.break_connections()
    worker.gate.unlink()
    runner.run_all_jobs(max_seconds=150)

    # Then each ran once, in two allocations at most, whose end is seen
    assert worker.states() == {"COMPLETED": JOBS}
    assert worker.signatures() == exactly_once(JOBS)
    assert len(worker.batches()) <= 2

    def finished() -> bool:
        runner.update_batch_jobs()
        return not worker.batches(batch_state={"$ne": "FINISHED"})

    wait_until(finished, 100, "the end")
    assert not [path for path in worker.pool.rglob("*") if path.is_file()]
    # And a new connection was made once
    assert cluster.sshd.logins == 2
