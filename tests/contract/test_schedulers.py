"""What every scheduler has to do: a real Slurm, a real Grid Engine, a PBS of ours, and the shell. A new one is one more
value of the fixture."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from qtoolkit.io.base import BaseSchedulerIO
from qtoolkit.io.pbs import PBSIO
from qtoolkit.io.sge import SGEIO
from qtoolkit.io.shell import ShellIO
from qtoolkit.io.slurm import SlurmIO

from jfr_mp.config.workers import ExecutionConfig, LocalWorker
from jfr_mp.errors import HostError, SchedulerError, SiteLimit
from jfr_mp.hosts.local import LocalHost
from jfr_mp.model import JobDoc
from jfr_mp.schedulers import QueueManager, job_script
from jfr_mp.schedulers.journal import JournalReader
from jfr_mp.schedulers.submission import CLAIM_FILENAME, PROCESS_ID_FILENAME
from jfr_mp.steps.submit import new_submission
from tests.support.pbs import Pbs
from tests.support.sge import GridEngine
from tests.support.slurm import Slurm
from tests.support.submissions import forget_submission
from tests.support.waiting import wait_until

UUID = "abcdef01-2345-6789-abcd-ef0123456789"


@dataclass(frozen=True)
class Cluster:
    """A scheduler of the suite: how to speak to it, the environment of its clients, and how it is made unkind."""

    io: type[BaseSchedulerIO]
    env: Mapping[str, str] = field(default_factory=dict)
    submit: str = ""
    #: What of `resources` it refuses, and what its message names.
    refused: tuple[Mapping[str, str], str] = ({}, "")
    #: Resources with which a job waits for ever.
    waiting: Mapping[str, str] = field(default_factory=dict)
    limit: Callable[[int | None], None] | None = None
    forget: Callable[[str], None] = lambda job_id: None


@pytest.fixture(scope="session")
def slurm(slurm_server: Slurm) -> Cluster:
    return Cluster(
        *(SlurmIO, slurm_server.env, "sbatch"),
        refused=({"partition": "nowhere"}, "invalid partition specified: nowhere"),
        waiting={"partition": "down"},
    )


@pytest.fixture(scope="session")
def sge(grid_engine: GridEngine) -> Cluster:
    return Cluster(
        *(SGEIO, {"PATH": f"{grid_engine.bin}:{os.environ['PATH']}"}, "qsub"),
        refused=({"queue": "nowhere"}, 'unknown queue "nowhere"'),
        waiting={"qverbatim": "#$ -h"},
        limit=lambda jobs: grid_engine.configure(max_u_jobs=jobs or 0),
    )


@pytest.fixture(scope="session")
def pbs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    server = Pbs(tmp_path_factory.mktemp("pbs"))
    try:
        server.start()
        yield Cluster(
            *(PBSIO, {"PATH": f"{server.bin}:{os.environ['PATH']}"}, "qsub"),
            refused=({"queue": "nowhere"}, "Unknown queue"),
            waiting={"queue": "held"},
            limit=server.limit,
            forget=server.forget,
        )
    finally:
        server.stop()


@pytest.fixture(scope="session")
def shell() -> Cluster:
    return Cluster(ShellIO)


BATCH = ["slurm", "sge", "pbs"]


@pytest.fixture(params=["shell", *BATCH])
def cluster(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    cluster: Cluster = request.getfixturevalue(request.param)
    for name, value in cluster.env.items():
        monkeypatch.setenv(name, value)
    return cluster


batch_only = pytest.mark.parametrize("cluster", BATCH, indirect=True)


@pytest.fixture
def manager(cluster: Cluster) -> QueueManager:
    return QueueManager(cluster.io(), LocalHost(), timeout=30)


class Job:
    """A job with a run directory of its own."""

    def __init__(self, manager: QueueManager, directory: Path, name: str = "relax") -> None:
        self.manager = manager
        self.name = name
        self.work_dir = directory
        self.run_dir = directory / "it's a run; touch x $(id) é"
        self.run_dir.mkdir(parents=True)
        self.process_id = ""
        self.token = new_submission()
        self.resources: Mapping[str, str] = {}

    def script(self, body: str) -> str:
        worker = LocalWorker(
            scheduler_type="shell", work_dir=self.work_dir, pre_run=body, execution_cmd=": {}", resources=self.resources
        )
        doc = JobDoc(job={"name": self.name}, uuid=UUID, index=1, db_id="1", worker="w", state="UPLOADED")
        return job_script(doc, worker, ExecutionConfig(), self.manager.scheduler_io, str(self.run_dir), self.token)

    def submit(self, body: str = "sleep 100") -> str:
        self.process_id = self.manager.submit(self.script(body), self.run_dir, self.token)
        return self.process_id

    def in_the_queue(self) -> list[str]:
        """Return the ids of all jobs that were submitted for this one and have not ended."""
        (command,) = self.manager.dialect.list_commands((), "root")
        jobs = self.manager.dialect.read_list(self.manager.host.run(command))
        return [job.job_id for job in jobs if self.token in job.text and not job.status.done]

    def runs(self) -> list[str]:
        """Return what the runs of a body wrote that signs a ledger."""
        ledger = self.run_dir / "ledger"
        return ledger.read_text().split() if ledger.exists() else []

    def has(self, file: str) -> Callable[[], bool]:
        return (self.run_dir / file).exists

    def status(self) -> str:
        status = self.manager.statuses([self.process_id]).get(self.process_id)
        return "DONE" if status is None or status.done else status.name

    def wait(self, status: str) -> None:
        wait_until(lambda: self.status() == status, 60, f"the status {status}")


@pytest.fixture
def job(manager: QueueManager, tmp_path: Path) -> Iterator[Job]:
    """A job that is ended with the test."""
    job = Job(manager, tmp_path / "work")
    yield job
    if job.process_id:
        manager.cancel(job.process_id)
        job.wait("DONE")


SIGN = "echo run >> ledger"


def test_a_job_from_submission_to_its_end(job: Job, cluster: Cluster) -> None:
    # Given a job that waits for a file
    process_id = job.submit("touch started\nuntil [ -e go ]; do sleep 0.02; done\ntouch finished")
    # When it is with the scheduler
    assert (job.run_dir / PROCESS_ID_FILENAME).read_text().strip() == process_id
    assert not job.has(CLAIM_FILENAME)()
    # Then it is running, sooner or later
    wait_until(job.has("started"), 60, "the start of the job")
    job.wait("RUNNING")
    # And when it has ended it is done, and still so when the scheduler has forgotten it
    (job.run_dir / "go").touch()
    wait_until(job.has("finished"), 60, "the end of the job")
    job.wait("DONE")
    cluster.forget(process_id)
    job.wait("DONE")
    # And the journal has it all
    events = JournalReader(job.manager.host, job.work_dir).new_events()
    assert [(event.submission, event.ended) for event in events] == [(job.token, False), (job.token, True)]


def test_submitting_again_finds_the_job(job: Job) -> None:
    first = job.submit(f"{SIGN}\nsleep 100")
    assert job.submit(f"{SIGN}\nsleep 100") == first
    wait_until(job.runs, 60, "the start of the job")
    assert job.submit(f"{SIGN}\nsleep 100") == first
    assert job.runs() == ["run"]


def test_many_submissions_at_once_are_one(job: Job) -> None:
    # When five threads submit at the same time
    ids: list[str] = []
    threads = [threading.Thread(target=lambda: ids.append(job.submit(f"{SIGN}\nsleep 100"))) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Then all have the id of the one job
    assert len(ids) == 5
    assert len(set(ids)) == 1
    wait_until(job.runs, 60, "the start of the job")
    assert job.runs() == ["run"]


def test_a_job_that_was_forgotten_runs_again(job: Job) -> None:
    first = job.submit(SIGN)
    wait_until(job.runs, 60, "the first run")
    forget_submission(job.manager.host, job.run_dir)
    job.token = new_submission()
    assert job.submit(SIGN) != first
    wait_until(lambda: len(job.runs()) == 2, 60, "the second run")


def test_cancelling_ends_a_job_and_may_be_repeated(job: Job) -> None:
    job.submit("touch started; sleep 100")
    wait_until(job.has("started"), 60, "the start of the job")
    job.manager.cancel(job.process_id)
    job.wait("DONE")
    job.manager.cancel(job.process_id)


def test_an_output_of_the_script_is_in_the_run_directory(job: Job) -> None:
    job.submit("echo out\necho err >&2")
    job.wait("DONE")
    wait_until(lambda: job.has("queue.err")() and (job.run_dir / "queue.err").read_text(), 60, "the output")
    assert (job.run_dir / "queue.err").read_text() == "err\n"
    assert (job.run_dir / "queue.out").read_text().splitlines()[-1] == "out"


@pytest.mark.parametrize(
    "name", ["relax (1); touch x", "$(touch x)", 'it\'s "q"', "a\nb", "é", "", "-n", "1st", "n" * 500]
)
def test_every_name_is_taken(manager: QueueManager, tmp_path: Path, name: str) -> None:
    # Given a job with a name that is no name for the scheduler
    job = Job(manager, tmp_path, name)
    # When it runs
    job.submit(SIGN)
    job.wait("DONE")
    # Then nothing else happened
    assert wait_until(job.runs, 60, "its run") == ["run"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".jfr_mp", job.run_dir.name]
    assert not job.has("x")()


@batch_only
def test_a_job_waits_and_is_cancelled_behind_our_back(job: Job, cluster: Cluster) -> None:
    job.resources = cluster.waiting
    job.submit()
    assert job.status() in ("QUEUED", "QUEUED_HELD")
    cancel = job.manager.dialect.cancel_command(job.process_id)
    subprocess.run(cancel, check=True, capture_output=True)
    job.wait("DONE")


@batch_only
def test_a_job_of_a_submission_that_died_is_found_by_its_name(
    job: Job, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an attempt that is killed, with all that it started, when the scheduler has the job and its id is nowhere
    job.resources = cluster.waiting
    with monkeypatch.context() as patch:
        submit_and_die(cluster, tmp_path / "bin", patch)
        with pytest.raises(HostError, match="could not be submitted"):
            job.submit()
    assert job.has(CLAIM_FILENAME)()
    assert not job.has(PROCESS_ID_FILENAME)()
    # When the next attempt comes
    process_id = job.submit()
    # Then it has found the job, and there is no other
    assert job.status() in ("QUEUED", "QUEUED_HELD")
    assert (job.run_dir / PROCESS_ID_FILENAME).read_text().strip() == process_id
    assert not job.has(CLAIM_FILENAME)()
    assert job.in_the_queue() == [process_id]


@batch_only
def test_a_job_that_has_run_already_is_found_by_what_it_left(
    job: Job, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a submission that died, and whose job has run and left the queue
    with monkeypatch.context() as patch:
        submit_and_die(cluster, tmp_path / "bin", patch)
        with pytest.raises(HostError):
            job.submit(SIGN)
    wait_until(job.runs, 60, "the run")
    wait_until(lambda: not job.in_the_queue(), 60, "the end of the job")
    # When the next attempt comes
    job.submit(SIGN)
    # Then it knows the job, which is not run again
    job.wait("DONE")
    assert job.runs() == ["run"]


@batch_only
def test_a_submission_that_died_too_early_is_repeated(
    job: Job, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an attempt that is killed before the scheduler hears of the job
    with monkeypatch.context() as patch:
        submit_and_die(cluster, tmp_path / "bin", patch, submits=False)
        with pytest.raises(HostError):
            job.submit(SIGN)
    # When the next attempt comes, then the job runs
    job.submit(SIGN)
    job.wait("DONE")
    assert job.runs() == ["run"]


@batch_only
def test_of_two_jobs_that_the_scheduler_took_one_runs(job: Job) -> None:
    # Given a job that was submitted, and once more by somebody who knew nothing of it
    job.submit(f"{SIGN}\nuntil [ -e go ]; do sleep 0.02; done")
    done = subprocess.run(
        job.manager.dialect.submit_command(), cwd=job.run_dir, capture_output=True, text=True, check=True
    )
    second = done.stdout.split()[2 if "Your" in done.stdout else -1]
    # When both have got their turn
    wait_until(lambda: job.manager.statuses([second])[second].done, 60, "the end of the second")
    (job.run_dir / "go").touch()
    job.wait("DONE")
    # Then one of them has run
    assert job.runs() == ["run"]


@batch_only
def test_what_is_refused_for_good_says_why_in_one_line(job: Job, cluster: Cluster) -> None:
    job.resources, message = cluster.refused
    with pytest.raises(SchedulerError, match=message) as caught:
        job.submit()
    assert caught.value.permanent
    assert "\n" not in str(caught.value)
    # And the next attempt is not kept from trying
    assert not job.has(CLAIM_FILENAME)()
    job.resources = {}
    job.submit(SIGN)
    job.wait("DONE")
    assert job.runs() == ["run"]


@pytest.mark.parametrize("cluster", ["sge", "pbs"], indirect=True)
def test_a_limit_of_the_site_is_no_refusal(job: Job, cluster: Cluster, tmp_path: Path) -> None:
    # Given a site that takes no more jobs of ours
    other = Job(job.manager, tmp_path / "other")
    other.submit()
    assert cluster.limit
    cluster.limit(1)
    try:
        with pytest.raises(SiteLimit):
            job.submit()
    finally:
        cluster.limit(None)
        job.manager.cancel(other.process_id)
    # When it does again, then the job is taken
    assert job.submit()


@batch_only
def test_a_missing_command_is_named(
    job: Job, cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a host whose PATH has not what the scheduler needs
    for name in ("sh", "cat", "ln", "mv", "rm", "uname", "date", "sed", "timeout", "wc", "ps", "grep"):
        (tmp_path / name).symlink_to(shutil.which(name) or "")
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        with pytest.raises(SchedulerError, match=f"{cluster.submit}: there is no such command") as caught:
            job.submit()
        assert caught.value.permanent
        with pytest.raises(SchedulerError, match="gave no answer: exit code 127"):
            job.manager.statuses([id_like(cluster)])


def submit_and_die(cluster: Cluster, directory: Path, patch: pytest.MonkeyPatch, *, submits: bool = True) -> None:
    """Put a submit command on PATH that kills everything as soon as the real one has done its work."""
    real = shutil.which(cluster.submit)
    directory.mkdir()
    command = directory / cluster.submit
    everything = "kill -s KILL $(ps -o pid= -s $(ps -o sid= -p $$))"
    command.write_text("\n".join(["#!/bin/sh", f'{real} "$@"' if submits else ":", everything, ""]))
    command.chmod(0o755)
    patch.setenv("PATH", str(directory), prepend=os.pathsep)


def id_like(cluster: Cluster) -> str:
    return "1.pbs-test" if cluster.io is PBSIO else "1"
