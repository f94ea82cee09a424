"""The worker command, in a process of its own as on a worker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from jobflow import Job, JobStore
from maggma.stores import MemoryStore
from monty.json import jsanitize

from jfr_mp.jobdata.inputs import input_document
from jfr_mp.jobdata.outputs import read_output
from jfr_mp.jobdata.transfer_stores import transfer_store, transfer_store_names
from jfr_mp.model import JobDoc
from jfr_mp.outcomes import Completion
from jfr_mp.states import JobState
from tests.support.jobs import (
    add,
    exits_silently,
    kills_itself,
    raises,
    replace_with,
    sleeps,
    stores_data,
    stores_megabytes,
)
from tests.support.processes import ROOT
from tests.support.waiting import wait_until

JOBSTORE = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})

#: Jobs that exist on the worker alone: the submitting side does not need them.
OWN_JOBS = """
import gzip, os, shutil, sys, warnings
from pathlib import Path
from jfr_mp.execution import CURRENT_JOBDOC

def compresses_everything():
    for path in list(Path().iterdir()):
        with gzip.open(f"{path}.gz", "wb") as file:
            file.write(path.read_bytes())
        path.unlink()
    return "done"

def looks_around():
    doc = CURRENT_JOBDOC.job_doc
    return [doc.db_id, doc.worker, doc.job.name, doc.resources, os.getcwd()]

def goes_away():
    os.chdir("/")
    warnings.warn("old", DeprecationWarning)
    return "back"

def gives_up():
    sys.exit("enough")

def returns_what_cannot_be_stored():
    return object()
"""


class Worker:
    """Uploads jobs to a directory and runs them there."""

    def __init__(self, run_dir: Path) -> None:
        self.run_dir = run_dir
        run_dir.mkdir()
        (run_dir.parent / "own_jobs.py").write_text(OWN_JOBS)

    def upload(self, job: Job, config: dict[str, Any] | None = None, **function: Any) -> None:
        """Put the input there; `function` changes the serialized function of the job."""
        document = jsanitize(job, strict=True)
        document["function"].update(function)
        doc = JobDoc(
            job=document, uuid=job.uuid, index=1, db_id="7", worker="w", state="UPLOADED", resources={"nodes": 2}
        )
        store = transfer_store(JOBSTORE, self.run_dir, config)
        (self.run_dir / "jfremote_in.json").write_bytes(input_document(document, store, doc))

    def start(self) -> subprocess.Popen[str]:
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}/src:{ROOT}:{self.run_dir.parent}"}
        environment.pop("PYTHONWARNINGS", None)
        command = [sys.executable, "-P", "-m", "jfr_mp.execution", "run", str(self.run_dir)]
        return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, job: Job, config: dict[str, Any] | None = None, **function: Any) -> Completion:
        """Run a job to its end and read its output; nothing may be on its standard error."""
        self.upload(job, config, **function)
        stderr = self.start().communicate(timeout=60)[1]
        assert stderr == ""
        return read_output(self.run_dir, store_files=transfer_store_names(JOBSTORE, config))

    def output(self, config: dict[str, Any] | None = None) -> Any:
        """Return what the job returned."""
        store: Any = transfer_store(JOBSTORE, self.run_dir, config).docs_store
        store.connect()
        (document,) = store.query()
        return document["output"]


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    return Worker(tmp_path / "it's a run $(dir) é")


def own(name: str) -> tuple[Job, dict[str, Any]]:
    """Return a job without arguments, and what makes it run a function of `OWN_JOBS`."""
    job = add(1)
    job.function_args = ()
    return job, {"@module": "own_jobs", "@callable": name}


@pytest.mark.parametrize("config", [None, {"store": "orjson", "zip": True}, {"store": "msgpack"}])
def test_a_job_runs(worker: Worker, config: dict[str, Any] | None) -> None:
    completion = worker.run(add(1, 2), config)
    assert completion.state is JobState.COMPLETED
    assert completion.start_time
    assert completion.end_time
    assert completion.start_time < completion.end_time
    assert worker.output(config) == 3
    assert not [path for path in worker.run_dir.iterdir() if path.name.startswith(".")]


def test_the_output_file_is_the_peers(worker: Worker) -> None:
    worker.run(stores_data(5))
    output = json.loads((worker.run_dir / "jfremote_out.json").read_text())
    assert list(output) == ["response", "error", "start_time", "end_time"]
    assert output["error"] is None
    assert (output["response"]["@module"], output["response"]["@class"]) == ("jobflow.core.job", "Response")
    assert (output["response"]["output"], output["response"]["stored_data"]) == (None, {"value": 5})
    assert (output["start_time"]["@module"], output["start_time"]["@class"]) == ("datetime", "datetime")


def test_additional_stores_have_files_of_their_own(worker: Worker) -> None:
    worker.run(stores_megabytes(0.001))
    assert worker.output()["blob"]["store"] == "data"
    (document,) = json.loads((worker.run_dir / "additional_store_data.json").read_text())
    assert document["data"] == "x" * 1000


def test_new_jobs_are_flows_that_need_no_deserializing(worker: Worker) -> None:
    completion = worker.run(replace_with([1, 2]))
    ((kind, flow),) = completion.added
    # Two parts, their total, and the job by which jobflow keeps the output under the uuid of the first.
    assert (kind.value, flow["@class"], len(flow["jobs"])) == ("replace", "Flow", 4)


def test_a_job_that_raises_leaves_its_traceback(worker: Worker) -> None:
    completion = worker.run(raises("my bad"))
    assert completion.state is JobState.FAILED
    assert completion.error
    assert completion.error.endswith("RuntimeError: my bad\n")
    assert "tests/support/jobs.py" in completion.error


@pytest.mark.parametrize("job", [kills_itself, exits_silently])
def test_a_job_that_was_killed_says_only_that_it_started(worker: Worker, job: Any) -> None:
    completion = worker.run(job())
    assert completion.state is JobState.FAILED
    assert completion.error
    assert "probably killed" in completion.error
    assert completion.start_time


def test_a_terminated_job_has_left_its_start(worker: Worker) -> None:
    # Given a job that runs
    worker.upload(sleeps(100))
    process = worker.start()
    wait_until((worker.run_dir / "remote_job_data.json").exists, 60, "the start of the job")
    # When the scheduler ends it
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    # Then its output is whole, and tells the start alone
    assert list(json.loads((worker.run_dir / "jfremote_out.json").read_text())) == ["start_time"]


@pytest.mark.parametrize(
    ("module", "name", "reason"),
    [
        ("no_such_package.jobs", "relax", "No module named 'no_such_package'"),
        ("own_jobs", "relax", "the module does not define it"),
        ("__main__", "relax", "move it to a module that the worker can import"),
    ],
)
def test_a_function_that_is_not_there_is_named(worker: Worker, module: str, name: str, reason: str) -> None:
    serialized_function: dict[str, Any] = {"@module": module, "@callable": name}
    completion = worker.run(add(1), **serialized_function)
    assert completion.state is JobState.FAILED
    assert completion.error
    assert f"The function {module}.{name} cannot be imported" in completion.error
    assert sys.executable in completion.error
    assert reason in completion.error
    assert "Traceback" not in completion.error


@pytest.mark.parametrize(("content", "error"), [(None, "There is no jfremote_in.json"), ("{", "is damaged")])
def test_an_input_that_is_not_there_or_damaged(worker: Worker, content: str | None, error: str) -> None:
    if content is not None:
        (worker.run_dir / "jfremote_in.json").write_text(content)
    worker.start().communicate(timeout=60)
    completion = read_output(worker.run_dir)
    assert completion.error
    assert error in completion.error


def test_files_that_the_job_compressed_are_found(worker: Worker) -> None:
    job, function = own("compresses_everything")
    assert worker.run(job, **function).state is JobState.COMPLETED
    assert worker.output() == "done"


def test_a_job_sees_its_own_document(worker: Worker) -> None:
    job, function = own("looks_around")
    assert worker.run(job, **function).state is JobState.COMPLETED
    assert worker.output() == ["7", "w", "add", {"nodes": 2}, str(worker.run_dir)]


def test_a_job_may_leave_its_directory(worker: Worker) -> None:
    job, function = own("goes_away")
    assert worker.run(job, **function).state is JobState.COMPLETED
    assert worker.output() == "back"


def test_a_job_that_exits_leaves_its_reason(worker: Worker) -> None:
    job, function = own("gives_up")
    worker.upload(job, **function)
    assert worker.start().communicate(timeout=60)[1] == "enough\n"
    completion = read_output(worker.run_dir)
    assert completion.error
    assert "SystemExit: enough" in completion.error


def test_an_output_that_cannot_be_stored_is_an_error(worker: Worker) -> None:
    job, function = own("returns_what_cannot_be_stored")
    completion = worker.run(job, **function)
    assert completion.error
    assert "could not be serialized" in completion.error


def test_the_imports_of_the_command_itself_are_few() -> None:
    code = "import sys, jfr_mp.execution.run; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"jobflow", "maggma", "monty", "pymongo", "pydantic", "typer", "orjson"} & set(modules)


def test_wrong_arguments_are_told() -> None:
    done = subprocess.run([sys.executable, "-m", "jfr_mp.execution"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "usage: python -m jfr_mp.execution run DIR\n")
