"""Jobs that a warm server starts without a script: they find and leave what their script would."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from jobflow import Job
from monty.json import jsanitize

from jfr_mp.config import Project
from jfr_mp.execution.warm.control import retire
from jfr_mp.model import JobDoc
from jfr_mp.outcomes import Advance
from jfr_mp.schedulers.journal import Event
from jfr_mp.states import JobState
from jfr_mp.steps import submit, upload
from jfr_mp.steps.services import Services
from tests.support import probe_jobs
from tests.support.jobs import add
from tests.support.processes import ROOT
from tests.support.waiting import wait_until


class Ground:
    """A worker on this machine, and what its jobs do."""

    def __init__(self, base: Path, **worker: Any) -> None:
        fields = {"type": "local", "scheduler_type": "shell", "work_dir": str(base / "work"), **worker}
        outputs = {"type": "JSONStore", "paths": str(base / "outputs.json"), "read_only": False}
        directories = {"base_dir": str(base / "base"), "jobstore": {"docs_store": outputs}}
        values = {"name": "p", "queue": {}, "workers": {"w": fields}, **directories}
        self.services = Services(Project.model_validate(values), lambda _job: None, lambda _moment: True)
        self.site = self.services.site("w")
        assert self.site.warm_dir is not None
        self.warm_dir = self.site.warm_dir

    def uploaded(self, job: Job) -> JobDoc:
        """Upload a job and return its document after that."""
        given = {"job": jsanitize(job, strict=True), "uuid": job.uuid, "index": 1, "db_id": "1", "worker": "w"}
        outcome = upload.run(JobDoc(state=JobState.CHECKED_OUT, **given), self.site, self.services)
        assert isinstance(outcome, Advance)
        remote = {"submission": outcome.fields["remote.submission"]}
        return JobDoc(state=JobState.UPLOADED, run_dir=outcome.fields["run_dir"], remote=remote, **given)

    def submit(self, job: JobDoc) -> int:
        """Submit an uploaded job and return its process."""
        outcome = submit.run(job, self.site, self.services)
        assert isinstance(outcome, Advance)
        return int(outcome.fields["remote.process_id"])

    def run(self, job: Job) -> tuple[Path, list[Event]]:
        """Run a job to its end; return its directory and what the journal tells of it."""
        document = self.uploaded(job)
        self.submit(document)
        return Path(str(document.run_dir)), self.wait(document)

    def wait(self, job: JobDoc) -> list[Event]:
        """Wait until the journal tells of the end of a job, and return all that it tells of it."""
        events: list[Event] = []

        def ended() -> bool:
            events.extend(event for event in self.site.journal.new_events() if event.uuid == job.uuid)
            return any(event.ended for event in events)

        wait_until(ended, 90, "the end of the job in the journal")
        return events


@pytest.fixture
def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ground]:
    """Return a worker whose warm server is running."""
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}/src:{ROOT}")
    # No other jfr-mp on the PATH, and no measurement of coverage that the jobs would find.
    monkeypatch.setenv("PATH", os.defpath)
    for name in [name for name in os.environ if name.startswith("COVERAGE_")]:
        monkeypatch.delenv(name)
    ground = Ground(tmp_path)
    ground.run(add(1, 2))
    yield ground
    retire(ground.warm_dir)


def output_of(run_dir: Path) -> Any:
    """Return what the job in a directory returned."""
    documents = json.loads((run_dir / "remote_job_data.json").read_text())
    assert documents, (run_dir / "jfremote_out.json").read_text()
    return documents[0]["output"]


def is_scripted(pid: int) -> bool:
    """Return whether a process is the shell of a script."""
    return psutil.Process(pid).name() == "bash"


def test_a_job_finds_and_leaves_the_same(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a job that a script runs, and one that the server starts
    found, left = [], []
    for scripted in (True, False):
        with monkeypatch.context() as patch:
            if scripted:
                patch.setattr(submit, "start_directly", lambda *_arguments: None)
            run_dir, events = ground.run(probe_jobs.looks_around())
        token = {event.submission for event in events}.pop()
        said = (run_dir / "queue.out").read_text().splitlines()
        found.append(json.dumps(output_of(run_dir)).replace(str(run_dir), "DIR").replace(token, "TOKEN"))
        left.append(
            [
                said[0],
                [line.split(" ", 3)[2:3] for line in said[1:]],
                (run_dir / "queue.err").read_text(),
                sorted(path.name for path in run_dir.iterdir()),
                [event.ended for event in events],
            ]
        )

    # Then both have found the same, and left the same output, files and lines in the journal
    assert json.loads(found[0]) == json.loads(found[1])
    assert left[0] == left[1]


def test_a_job_runs_once_however_often_it_is_submitted(ground: Ground, tmp_path: Path) -> None:
    # Given a job that the server has started
    job = ground.uploaded(probe_jobs.waits(str(tmp_path / "ready")))
    pid = ground.submit(job)
    wait_until((tmp_path / "ready").exists, 30, "the job")
    assert not is_scripted(pid)

    # When it is submitted again, once to the server and once with its script
    (tmp_path / "ready").unlink()
    with pytest.MonkeyPatch.context() as patch:
        assert ground.submit(job) == pid
        patch.setattr(submit, "start_directly", lambda *_arguments: None)
        assert ground.submit(job) == pid

    # Then it is still the only one, and the attempts have neither ended it in the journal nor touched its output
    time.sleep(0.3)
    assert not (tmp_path / "ready").exists()
    assert not any(event.ended for event in ground.site.journal.new_events() if event.uuid == job.uuid)

    # And when it is cancelled, then it ends with all that it has started, and the journal says so
    (child,) = psutil.Process(pid).children()
    ground.site.scheduler.cancel(str(pid))
    ground.wait(job)
    wait_until(lambda: not child.is_running(), 20, "the end of what it had started")


@pytest.mark.parametrize("killed", ["job", "server"])
def test_the_journal_tells_the_end_whatever_is_killed(ground: Ground, tmp_path: Path, killed: str) -> None:
    # Given a job that the server has started, and that waits for a process
    job = ground.uploaded(probe_jobs.waits(str(tmp_path / "ready")))
    pid = ground.submit(job)
    wait_until((tmp_path / "ready").exists, 30, "the job")
    process = psutil.Process(pid)
    server, (child,) = process.parent(), process.children()
    assert server is not None

    # When the job is killed, or its server, and then the job ends by itself
    if killed == "job":
        os.kill(pid, signal.SIGKILL)
    else:
        server.kill()
        server.wait()
        child.kill()

    # Then the journal tells of it, and the next job runs
    ground.wait(job)
    assert output_of(ground.run(add(2, 2))[0]) == 4


@pytest.mark.parametrize(
    ("worker", "script"),
    [
        ({"pre_run": "export WORD=before"}, "before"),
        ({"post_run": "touch after"}, None),
        ({"resources": {"qverbatim": "export WORD=header"}}, "header"),
    ],
    ids=["pre_run", "post_run", "resources"],
)
def test_what_a_shell_has_to_interpret_runs_in_one(
    ground: Ground, tmp_path: Path, worker: dict[str, Any], script: str | None
) -> None:
    # Given a server, and a worker with shell text of its own
    other = Ground(tmp_path, **worker)
    assert other.warm_dir == ground.warm_dir

    # When a job runs there, then its script runs, too
    run_dir, _ = other.run(probe_jobs.looks_around())
    if script is None:
        wait_until((run_dir / "after").exists, 20, "post_run")
    else:
        assert output_of(run_dir)["environment"]["WORD"] == script
