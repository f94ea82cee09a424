"""The batch process, as a process: real scripts, real signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from jfr_mp.batch.markers import Place
from jfr_mp.jobdata.files import job_path
from tests.support.processes import Processes, wait_gone
from tests.support.waiting import wait_until

UID = "01234567-89ab-cdef-0123-456789abcdef"
#: What the script of a job does to leave a complete output.
COMPLETE = """echo '{"end_time": 1}' >out && mv out jfremote_out.json"""


@dataclass
class Batch:
    """A pool and the batch processes on it."""

    directory: Path
    processes: Processes

    @property
    def pool(self) -> Path:
        return self.directory / "pool"

    def add(self, *lines: str) -> str:
        """Put a job with this script into the pool; return its name."""
        uuid = str(uuid4())
        run_dir = self.run_dir(uuid)
        run_dir.mkdir(parents=True)
        (run_dir / "submit.sh").write_text("\n".join(lines))
        (self.pool / "submitted").mkdir(parents=True, exist_ok=True)
        (self.pool / "submitted" / f"{uuid}_1").touch()
        return uuid

    def run_dir(self, uuid: str) -> Path:
        return Path(job_path(uuid, 1, self.directory / "work"))

    def start(self, *options: str) -> subprocess.Popen[bytes]:
        cwd = self.directory / "allocation"
        cwd.mkdir(exist_ok=True)
        command = [sys.executable, "-m", "jfr_mp", "execution", "run-batch", str(self.directory / "work")]
        return self.processes.start([*command, str(self.pool), UID, "-st", "0.05", *options], cwd=cwd)

    def info(self) -> dict[str, object]:
        path = self.directory / "allocation" / "batch_info.json"
        return dict(json.loads(path.read_text())) if path.exists() else {}

    def at(self, place: Place) -> set[str]:
        directory = self.pool / place
        return {path.name.partition("_")[0] for path in directory.iterdir()} if directory.exists() else set()


@pytest.fixture
def batch(tmp_path: Path, processes: Processes) -> Batch:
    return Batch(tmp_path, processes)


def test_every_job_runs_once_and_some_at_the_same_time(batch: Batch) -> None:
    # Given jobs of which each waits for another one to run beside it
    ledger = batch.directory / "ledger"
    meet = f"until [ $(ls {batch.directory}/here | wc -l) -ge 2 ]; do sleep 0.02; done"
    (batch.directory / "here").mkdir()
    jobs = {batch.add(f"touch {batch.directory}/here/$$", meet, COMPLETE, f"echo run >>{ledger}") for _ in range(6)}

    # When a batch process with two slots serves them
    process = batch.start("-pj", "2", "-mw", "0.2")

    # Then it ends by itself, and each has run once
    assert process.wait(timeout=60) == 0, batch.processes.output(process)
    assert batch.at(Place.FINISHED) == jobs
    assert not batch.at(Place.SUBMITTED) | batch.at(Place.RUNNING)
    assert len(ledger.read_text().split()) == 6
    assert {"start_time", "last_ping_time", "end_time"} <= batch.info().keys()
    assert batch.info()["takes_jobs"] is False


def test_no_more_jobs_than_it_may_take(batch: Batch) -> None:
    for _ in range(3):
        batch.add(COMPLETE)
    assert batch.start("-mj", "2", "-pj", "4").wait(timeout=60) == 0
    assert len(batch.at(Place.FINISHED)) == 2
    assert len(batch.at(Place.SUBMITTED)) == 1


def test_a_slot_stays_while_a_job_of_another_one_may_make_work(batch: Batch) -> None:
    # Given two slots, and a job that runs longer than a slot waits for work
    gate = batch.directory / "gate"
    first = batch.add(f"until [ -e {gate} ]; do sleep 0.02; done", COMPLETE)
    process = batch.start("-pj", "2", "-mw", "0.3")
    wait_until(lambda: batch.at(Place.RUNNING) == {first}, 30, "the first job")
    began = batch.info()["last_ping_time"]
    wait_until(lambda: batch.info()["last_ping_time"] != began, 30, "a reply after more than that time")

    # When work comes at last
    second = batch.add(COMPLETE)

    # Then it is done while the first still runs
    wait_until(lambda: batch.at(Place.FINISHED) == {second}, 30, "the second job")
    gate.touch()
    assert process.wait(timeout=30) == 0


def test_a_job_without_a_directory_is_given_on(batch: Batch) -> None:
    uuid = batch.add(COMPLETE)
    (batch.run_dir(uuid) / "submit.sh").unlink()
    batch.run_dir(uuid).rmdir()
    assert batch.start("-mj", "1").wait(timeout=60) == 0
    assert batch.at(Place.FINISHED) == {uuid}


def test_a_job_that_has_run_already_does_not_run_again(batch: Batch) -> None:
    uuid = batch.add("touch again")
    (batch.run_dir(uuid) / "jfremote_out.json").write_text('{"end_time": 1}')
    assert batch.start("-mj", "1").wait(timeout=60) == 0
    assert batch.at(Place.FINISHED) == {uuid}
    assert not (batch.run_dir(uuid) / "again").exists()


def test_what_a_job_leaves_behind_is_ended(batch: Batch) -> None:
    uuid = batch.add("sleep 1000 & echo $! >pid", COMPLETE)
    assert batch.start("-mj", "1").wait(timeout=60) == 0
    wait_gone([int((batch.run_dir(uuid) / "pid").read_text())])


def test_a_job_can_be_interrupted(batch: Batch) -> None:
    # Given that the batch process blocks signals
    uuid = batch.add("sh -c 'kill $$' || touch interrupted", COMPLETE)
    assert batch.start("-mj", "1").wait(timeout=60) == 0
    # Then its jobs do not
    assert (batch.run_dir(uuid) / "interrupted").exists()


def test_the_end_of_the_allocation(batch: Batch) -> None:
    # Given two jobs that run
    jobs = {batch.add("echo $$ >pid", "sleep 1000 & wait"), batch.add("echo $$ >pid", "sleep 1000 & wait")}
    process = batch.start("-pj", "2")
    pids = [batch.run_dir(uuid) / "pid" for uuid in jobs]
    wait_until(lambda: all(pid.exists() and pid.read_text().strip() for pid in pids), 30, "the jobs")

    # When the scheduler ends the allocation, a job first
    os.kill(int(pids[0].read_text()), signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=30)

    # Then no job is left, the batch says so, and the jobs count as taken, not as ended
    wait_gone(int(pid.read_text()) for pid in pids)
    assert "end_time" in batch.info()
    assert batch.at(Place.RUNNING) == jobs


def test_an_allocation_that_begins_anew_goes_on_with_its_jobs(batch: Batch) -> None:
    # Given a batch process that was killed with its job
    uuid = batch.add("echo $$ >>pids", "until [ -e go ]; do sleep 0.02; done", COMPLETE)
    pids = batch.run_dir(uuid) / "pids"
    first = batch.start()
    wait_until(lambda: pids.exists() and pids.read_text().strip(), 30, "the job")
    first.kill()
    os.killpg(int(pids.read_text()), signal.SIGKILL)

    # When its scheduler starts the allocation again
    (batch.run_dir(uuid) / "go").touch()
    process = batch.start("-mw", "0.2")

    # Then the job runs again
    assert process.wait(timeout=60) == 0, batch.processes.output(process)
    assert batch.at(Place.FINISHED) == {uuid}
    assert len(pids.read_text().split()) == 2


def test_a_job_that_outlives_its_batch_process_does_not_run_twice(
    batch: Batch, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a job whose batch process was killed, and which somebody put back too early
    uuid = batch.add("echo $$ >>pids", "until [ -e go ]; do sleep 0.02; done", COMPLETE)
    pids = batch.run_dir(uuid) / "pids"
    first = batch.start()
    wait_until(lambda: pids.exists() and pids.read_text().strip(), 30, "the job")
    first.kill()
    first.wait()
    (batch.pool / "running" / f"{uuid}_1_{UID}").rename(batch.pool / "submitted" / f"{uuid}_1")

    # When another one takes it
    process = batch.start("-mw", "0.2")
    wait_until(lambda: "is still running" in batch.processes.output(process), 30, "a word about that")
    (batch.run_dir(uuid) / "go").touch()

    # Then it waits for the job instead of running it
    assert process.wait(timeout=60) == 0
    assert batch.at(Place.FINISHED) == {uuid}
    assert len(pids.read_text().split()) == 1
