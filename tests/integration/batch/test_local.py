"""Batch workers on this machine: real batches as processes, which are ended in every way."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from jfr_mp import Runner
from jfr_mp.batch.site import BatchSite
from jfr_mp.batch.supply import submit_batch
from jfr_mp.database import paused_workers
from jfr_mp.database.batches import PlannedBatches, living_batches
from jfr_mp.database.connection import QueueDatabase
from jfr_mp.diagnosis import explain_job
from jfr_mp.errors import LeaseLost
from tests.integration.batch.conftest import BatchWorker, exactly_once
from tests.support.processes import is_alive
from tests.support.waiting import wait_until

MakeWorker = Callable[..., BatchWorker]
NewRunner = Callable[[], Runner]


class Watcher:
    """Counts the living batch processes until the end of its context."""

    def __init__(self, worker: BatchWorker) -> None:
        self._worker = worker
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.most = 0

    def _run(self) -> None:
        while not self._stop.wait(0.1):
            self.most = max(self.most, len(self._worker.processes()))

    def __enter__(self) -> Watcher:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def run_until(runner: Runner, worker: BatchWorker, condition: Callable[[], bool], what: str) -> None:
    """Run everything, a second at a time, until a condition holds."""

    def holds() -> bool:
        with suppress(RuntimeError):
            runner.run_all_jobs(max_seconds=1)
        return condition()

    wait_until(holds, 100, f"{what}; there are {worker.states()}")


def test_many_jobs_in_few_batches(make_worker: MakeWorker, new_runner: NewRunner) -> None:
    # Given more jobs than slots
    worker = make_worker()
    worker.submit(40)

    # When they are run
    with Watcher(worker) as watcher:
        new_runner().run_all_jobs(max_seconds=110)

    # Then each ran once, in two batches at most, and nothing is left in the pool
    assert worker.states() == {"COMPLETED": 40}
    assert worker.signatures() == exactly_once(40)
    assert watcher.most <= 2
    assert not [path for path in worker.pool.rglob("*") if path.is_file()]


def test_the_documents(make_worker: MakeWorker, new_runner: NewRunner) -> None:
    # Given a worker whose batches end at once when there is nothing to do
    worker = make_worker(batch={"max_wait": 0.1})
    worker.submit(3)
    runner = new_runner()
    runner.run_all_jobs(max_seconds=100)

    # When the last batch has ended
    def over() -> bool:
        runner.update_batch_jobs()
        return not worker.batches(batch_state={"$ne": "FINISHED"})

    wait_until(over, 60, "the end of the batches")

    # Then their documents are jobflow-remote's
    (batch,) = worker.batches()
    assert set(batch) == {
        *("_id", "batch_uid", "process_id", "batch_state", "worker", "jobs", "created_on", "updated_on"),
        *("start_time", "end_time", "last_ping_time"),
    }
    jobs = list(worker.project.db.jobs.find())
    assert sorted(batch["jobs"]) == sorted([job["db_id"], job["uuid"], job["index"]] for job in jobs)
    assert {job["remote"]["process_id"] for job in jobs} == {batch["process_id"]}
    assert batch["created_on"] <= batch["start_time"] <= batch["end_time"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["SIGKILL", "SIGTERM"])
def test_a_batch_process_that_is_ended(make_worker: MakeWorker, new_runner: NewRunner, number: signal.Signals) -> None:
    # Given a batch process with jobs
    worker = make_worker()
    worker.gate.touch()
    worker.submit(16)
    runner = new_runner()
    run_until(runner, worker, lambda: worker.states().get("BATCH_RUNNING", 0) >= 2, "jobs that run")
    victim = worker.processes()[0].pid

    # When it is ended in the middle
    os.kill(victim, number)
    # A job that it ends must not do so between its signature and its result.
    wait_until(lambda: not is_alive(victim), 20, "the end of the batch process")
    worker.gate.unlink()
    runner.run_all_jobs(max_seconds=110)

    # Then each job is run to its end once, whether it outlived the batch process or not
    assert not is_alive(victim)
    assert worker.states() == {"COMPLETED": 16}
    assert worker.signatures() == exactly_once(16)


def test_a_batch_that_is_cancelled(make_worker: MakeWorker, new_runner: NewRunner) -> None:
    # Given two batches with jobs
    worker = make_worker()
    worker.gate.touch()
    worker.submit(24)
    runner = new_runner()
    run_until(runner, worker, lambda: worker.states().get("BATCH_RUNNING", 0) >= 6, "jobs that run")

    # When both are cancelled
    cancelled = worker.batches()
    for batch in cancelled:
        runner.get_queue_manager("local").cancel(batch["process_id"])
    worker.gate.unlink()
    runner.run_all_jobs(max_seconds=110)

    # Then their jobs ran in others
    assert worker.states() == {"COMPLETED": 24}
    assert worker.signatures() == exactly_once(24)
    assert len(worker.batches()) > len(cancelled)


def test_a_job_that_its_batches_die_of(make_worker: MakeWorker, new_runner: NewRunner) -> None:
    # Given a worker whose jobs end their batch
    worker = make_worker(
        runner={"max_step_attempts": 1}, execution_cmd="kill -TERM $(ps -o ppid= -p $$); sleep 30; : {}"
    )
    worker.submit(1)

    # When it has been tried often enough
    runner = new_runner()
    run_until(runner, worker, lambda: "REMOTE_ERROR" in worker.states(), "the end of the attempts")

    # Then the job says why, and nobody runs it any more
    (job,) = worker.project.db.jobs.find()
    assert "the batch that ran the job ended 2 times before the job did" in job["remote"]["error"]
    assert not [path for path in worker.pool.rglob("*") if path.is_file()]


def test_a_paused_worker_submits_no_batch_until_it_is_resumed(make_worker: MakeWorker, new_runner: NewRunner) -> None:
    # Given a worker with jobs in its pool, that is paused before a batch was submitted for them
    worker = make_worker(runner={"delay_update_batch": 600})
    worker.submit(3)
    runner = new_runner()
    db = runner.job_controller.db
    for _ in range(3):
        runner.checkout()
    for state in ("CHECKED_OUT", "UPLOADED"):
        runner.advance_state([state])
    assert worker.states() == {"BATCH_SUBMITTED": 3}
    assert paused_workers.pause(db, "local", "a user")

    # When the worker is processed
    runner.update_batch_jobs()

    # Then there is no batch, and each job says why it waits
    assert not worker.batches()
    assert not PlannedBatches(db, "local").uids
    (job, *_) = worker.project.db.jobs.find()
    assert "a user has paused worker local" in str(explain_job(db, db_id=job["db_id"]))

    # And they run as soon as it is resumed, and not at the next regular round only
    paused_workers.resume(db, "local")
    runner.run_all_jobs(max_seconds=60)
    assert worker.states() == {"COMPLETED": 3}
    assert worker.signatures() == exactly_once(3)


def test_a_scheduler_that_takes_no_batches(make_worker: MakeWorker, new_runner: NewRunner) -> None:
    # Given resources that the scheduler does not know
    worker = make_worker(resources={"nodes_of_gold": 3})
    worker.submit(1)

    # When a batch should be submitted
    run_until(
        new_runner(), worker, lambda: bool(worker.project.db.jobs.find_one({"remote.error": {"$ne": None}})), "a reason"
    )

    # Then the job says why it waits
    (job,) = worker.project.db.jobs.find()
    assert job["state"] == "BATCH_SUBMITTED"
    assert "no batch could be submitted" in job["remote"]["error"]
    assert "nodes_of_gold" in job["remote"]["error"]
    assert not worker.batches()


def test_a_worker_command_that_does_not_run(
    make_worker: MakeWorker, new_runner: NewRunner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a worker on which the program that runs batches is missing
    monkeypatch.setattr("jfr_mp.batch.supply._FIRST_PAUSE", 5.0)
    program = tmp_path / "program"
    worker = make_worker(execution_cmd=f"{program} execution run {{}}")
    worker.submit(3)
    runner = new_runner()

    # When its jobs are to run
    run_until(runner, worker, lambda: bool(worker.batches(batch_state="FINISHED")), "the end of a batch")
    with suppress(RuntimeError):
        runner.run_all_jobs(max_seconds=3)

    # Then the scheduler is left in peace, and the jobs wait and say why
    assert len(worker.batches()) == 1
    jobs = list(worker.project.db.jobs.find())
    assert [job["state"] for job in jobs] == ["BATCH_SUBMITTED"] * 3
    for job in jobs:
        assert "ended without having run a job; the next batch is submitted after 5 s" in job["remote"]["error"]
        assert f"{program}: No such file or directory" in job["remote"]["error"]

    # When somebody has installed it, then the jobs run
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -P -m jfr_mp "$@"\n')
    program.chmod(0o755)
    runner.run_all_jobs(max_seconds=100)
    assert worker.states() == {"COMPLETED": 3}
    assert worker.signatures() == exactly_once(3)


def test_a_marker_that_is_lost(make_worker: MakeWorker, new_runner: NewRunner, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a job in the pool whose marker somebody removed
    worker = make_worker()
    worker.submit(1)
    runner = new_runner()
    runner.checkout()
    runner.advance_state(["CHECKED_OUT", "UPLOADED"])
    assert worker.states() == {"BATCH_SUBMITTED": 1}
    (marker,) = Path(worker.pool, "submitted").iterdir()
    marker.unlink()

    # When it has not been seen for long enough
    monkeypatch.setattr("jfr_mp.batch.results.NOWHERE", 3)
    runner.run_all_jobs(max_seconds=60)

    # Then it waits again, and runs
    assert worker.signatures() == exactly_once(1)


@pytest.fixture
def db(make_worker: MakeWorker, new_runner: NewRunner) -> QueueDatabase:
    make_worker()
    return new_runner().job_controller.db


def test_a_batch_that_was_planned_is_found_by_the_next(db: QueueDatabase) -> None:
    planned = PlannedBatches(db, "local")
    assert planned.uids == ()
    (batch_uid,) = planned.plan(1)
    assert PlannedBatches(db, "local").uids == (batch_uid,)
    planned.submitted(batch_uid, "4711")
    assert PlannedBatches(db, "local").uids == ()
    assert [batch.process_id for batch in living_batches(db, "local")] == ["4711"]
    # Whoever comes late with the same news changes nothing.
    planned.submitted(batch_uid, "4711")
    assert len(living_batches(db, "local")) == 1


def test_two_who_believe_to_be_alone_do_not_both_plan(db: QueueDatabase) -> None:
    one, other = PlannedBatches(db, "local"), PlannedBatches(db, "local")
    first = list(one.plan(1))
    with pytest.raises(LeaseLost, match="another process submits batches for worker 'local'"):
        next(other.plan(1))
    second = list(PlannedBatches(db, "local").plan(1))
    assert PlannedBatches(db, "local").uids == (*first, *second)


def test_a_batch_that_was_planned_by_a_process_that_died(make_worker: MakeWorker, new_runner: NewRunner) -> None:
    # Given a batch that was submitted, and nobody knows
    worker = make_worker(max_jobs=1)
    runner = new_runner()
    worker.submit(2)
    (batch_uid,) = PlannedBatches(runner.job_controller.db, "local").plan(1)
    site = runner._services.site("local")  # noqa: SLF001 - the site of this runner, and not another one
    assert isinstance(site, BatchSite)
    process_id = submit_batch(site, batch_uid)

    # When the jobs are run
    runner.run_all_jobs(max_seconds=60)

    # Then they ran in it
    assert worker.signatures() == exactly_once(2)
    assert [(batch["batch_uid"], batch["process_id"]) for batch in worker.batches()] == [(batch_uid, process_id)]
