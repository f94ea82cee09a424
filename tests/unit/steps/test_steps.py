"""Upload, submit, download and complete as functions: a job in, an outcome out, and files on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from jobflow import Job
from monty.json import jsanitize

from jfr_mp.config import Project
from jfr_mp.errors import LeaseLost, UnresolvableReference
from jfr_mp.model import JobDoc
from jfr_mp.outcomes import Advance, Completion, Fail
from jfr_mp.states import JobState
from jfr_mp.steps import complete, download, submit, upload
from jfr_mp.steps.services import Services
from tests.support.jobs import add, raises
from tests.support.processes import ROOT
from tests.support.sites import remote_site, services_with
from tests.support.waiting import wait_until


@pytest.fixture
def services(tmp_path: Path) -> Services:
    """The services of a project with a worker on this machine, whose jobs leave a line in a ledger."""
    worker = {
        "type": "local",
        "scheduler_type": "shell",
        "work_dir": str(tmp_path / "work"),
        "execution_cmd": f"echo run >> {tmp_path}/ledger; true {{}}",
    }
    outputs = {"type": "JSONStore", "paths": str(tmp_path / "outputs.json"), "read_only": False}
    jobstore = {"docs_store": outputs}
    project = Project.model_validate({"name": "p", "queue": {}, "workers": {"w": worker}, "jobstore": jobstore})
    return Services(project, lambda _job: None, lambda _moment: True)


def document(job: Job, state: JobState, **fields: Any) -> JobDoc:
    """Return the document of a job as the queue database has it."""
    return JobDoc(job=jsanitize(job, strict=True), uuid=job.uuid, index=1, db_id="1", worker="w", state=state, **fields)


def uploaded(job: Job, services: Services, **fields: Any) -> JobDoc:
    """Upload a job and return its document after that."""
    outcome = upload.run(document(job, JobState.CHECKED_OUT), services.site("w"), services)
    assert isinstance(outcome, Advance)
    remote = {"submission": outcome.fields["remote.submission"]}
    return document(job, JobState.UPLOADED, run_dir=outcome.fields["run_dir"], remote=remote, **fields)


def test_upload_writes_the_input_and_removes_what_an_earlier_run_left(services: Services) -> None:
    # Given a job whose directory has the output of an earlier run
    job = add(1, 2)
    run_dir = Path(str(uploaded(job, services).run_dir))
    (run_dir / "jfremote_out.json").write_text("old")

    # When it is uploaded again
    again = uploaded(job, services)

    # Then its input is there, in the same directory, and the output is not
    assert again.run_dir == str(run_dir)
    assert json.loads((run_dir / "jfremote_in.json").read_text())["job"]["function_args"] == [1, 2]
    assert not (run_dir / "jfremote_out.json").exists()


def test_a_process_that_was_suspended_uploads_nothing(services: Services, tmp_path: Path) -> None:
    services.holds_lease_since = lambda _moment: False
    with pytest.raises(LeaseLost, match="suspended"):
        uploaded(add(1), services)
    assert not (tmp_path / "work").exists()


def test_a_reference_without_an_output_is_no_upload(services: Services, tmp_path: Path) -> None:
    parent = add(1)
    with pytest.raises(UnresolvableReference, match=parent.uuid):
        uploaded(add(parent.output), services)
    assert not (tmp_path / "work").exists()


def test_submit_runs_a_job_once_however_often_it_is_called(services: Services, tmp_path: Path) -> None:
    # Given an uploaded job
    job = uploaded(add(1), services)

    # When a submission is repeated, as after a crash before its outcome was written
    first = submit.run(job, services.site("w"), services)
    second = submit.run(job, services.site("w"), services)

    # Then both tell of the same process, and the job ran once
    assert isinstance(first, Advance)
    assert first == second
    assert first.state is JobState.SUBMITTED
    assert first.fields["remote.submission"] == job.remote.submission
    wait_until((tmp_path / "ledger").exists, 20, "the job")
    time.sleep(0.2)
    assert (tmp_path / "ledger").read_text() == "run\n"


def test_without_a_run_directory_there_is_nothing_to_submit_or_download() -> None:
    site = remote_site()
    services = services_with(w={"type": "remote", "scheduler_type": "slurm", "work_dir": "/work", "host": "cluster"})
    assert isinstance(submit.run(document(add(1), JobState.UPLOADED), site, services), Fail)
    assert isinstance(download.run(document(add(1), JobState.RUN_FINISHED), site, services), Fail)


def test_nothing_is_downloaded_from_this_machine(services: Services) -> None:
    outcome = download.run(document(add(1), JobState.RUN_FINISHED), services.site("w"), services)
    assert outcome == Advance(JobState.DOWNLOADED)


@pytest.mark.parametrize(("job", "state"), [(add(1, 2), JobState.COMPLETED), (raises(), JobState.FAILED)])
def test_complete_stores_the_output_of_a_job_that_succeeded(services: Services, job: Job, state: JobState) -> None:
    # Given a job that ran
    done = uploaded(job, services)
    run_dir = str(done.run_dir)
    command = [sys.executable, "-m", "jfr_mp.execution", "run", run_dir]
    subprocess.run(command, check=True, cwd=run_dir, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=100)

    # When it is completed, twice, as after a crash before the outcome was written
    outcomes = [complete.run(done, services.site("w"), services) for _ in range(2)]

    # Then it ends as it did, and there is one output if it succeeded
    assert [outcome.state for outcome in outcomes if isinstance(outcome, Completion)] == [state, state], outcomes
    with services.jobstore(done) as jobstore:
        found = [output["output"] for output in jobstore.query({"uuid": job.uuid})]
    assert found == ([3] if state is JobState.COMPLETED else [])


def test_a_damaged_output_fails_the_job_and_names_the_file(services: Services) -> None:
    done = uploaded(add(1), services)
    Path(str(done.run_dir), "jfremote_out.json").write_text('{"response": {}, "job_')
    outcome = complete.run(done, services.site("w"), services)
    assert isinstance(outcome, Completion)
    assert outcome.state is JobState.FAILED
    assert "jfremote_out.json" in str(outcome.error)
