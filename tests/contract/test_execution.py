"""What a job finds and leaves is the same, whether it is started cold or forked from a warm server."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from jobflow import Job, JobStore
from maggma.stores import MemoryStore
from monty.json import jsanitize

from jfr_mp.config.workers import LocalWorker
from jfr_mp.execution.warm.control import retire
from jfr_mp.jobdata.inputs import input_document
from jfr_mp.jobdata.transfer_stores import transfer_store
from jfr_mp.model import JobDoc
from jfr_mp.schedulers.script import default_command
from tests.support import probe_jobs
from tests.support.processes import ROOT
from tests.support.waiting import wait_until

JOBSTORE = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
WORKER = LocalWorker(scheduler_type="shell", work_dir=Path("/w"))


class Execution:
    """Runs jobs by the worker command, as the script of a job does.

    Parameters
    ----------
    base
        Where run directories are made.
    warm_dir
        Where warm servers listen; None starts each job cold.
    """

    def __init__(self, base: Path, warm_dir: Path | None) -> None:
        self.base = base
        self.warm_dir = warm_dir
        # A measurement of coverage would be found by the jobs.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
        self.environment = {**inherited, "PYTHONPATH": f"{ROOT}/src:{ROOT}", "JFR_MP_WARM_DEBUG": "1"}
        # No other jfr-mp on the PATH.
        self.environment["PATH"] = os.defpath
        self._number = 0

    def upload(self, job: Job) -> Path:
        """Make a run directory with the input of a job."""
        self._number += 1
        run_dir = self.base / f"run {self._number}"
        run_dir.mkdir(parents=True)
        document = jsanitize(job, strict=True)
        doc = JobDoc(job=document, uuid=job.uuid, index=1, db_id="7", worker="w", state="UPLOADED")
        store = transfer_store(JOBSTORE, run_dir, None)
        (run_dir / "jfremote_in.json").write_bytes(input_document(document, store, doc))
        return run_dir

    def words(self, run_dir: Path) -> list[str]:
        """Return the worker command for a run directory."""
        return [str(run_dir) if word == "{}" else word for word in default_command(WORKER, self.warm_dir)]

    def start(self, job: Job, before: str = "", **options: Any) -> tuple[Path, subprocess.Popen[str]]:
        """Start a job from a script with some lines before the command."""
        run_dir = self.upload(job)
        script = f"cd {shlex.quote(str(run_dir))}\n{before}\n{shlex.join(self.words(run_dir))}\nexit $?"
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        process = subprocess.Popen(
            ["bash", "-c", script], env=self.environment, text=True, start_new_session=True, **streams
        )
        return run_dir, process

    def run(self, job: Job, before: str = "", **options: Any) -> tuple[Path, subprocess.CompletedProcess[str]]:
        """Run a job to its end."""
        run_dir, process = self.start(job, before, **options)
        stdout, stderr = process.communicate(timeout=100)
        if self.warm_dir:
            assert "cold start" not in stderr, stderr
        return run_dir, subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def output(self, run_dir: Path) -> Any:
        """Return what the job returned."""
        documents = json.loads((run_dir / "remote_job_data.json").read_text())
        assert documents, (run_dir / "jfremote_out.json").read_text()
        return documents[0]["output"]


@pytest.fixture(scope="module")
def directories(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    base = tmp_path_factory.mktemp("execution")
    yield base
    retire(base / "w")


@pytest.fixture
def cold(tmp_path: Path) -> Execution:
    return Execution(tmp_path / "cold", None)


@pytest.fixture
def warm(tmp_path: Path, directories: Path) -> Execution:
    return Execution(tmp_path / "warm", directories / "w")


@pytest.fixture(params=["cold", "warm"])
def execution(request: pytest.FixtureRequest, cold: Execution, warm: Execution) -> Execution:
    return cold if request.param == "cold" else warm


PREPARATIONS = {
    "nothing": "",
    "an environment": "export WORD='two words' TZ=Asia/Tokyo; unset HOME",
    "a locale": "export LC_ALL=C LANG=C",
    "utf-8 mode": "export PYTHONUTF8=1",
    "another place": "cd /; umask 077",
    "limits": "ulimit -Sn 512; ulimit -Sc 0; ulimit -St 1000",
    "hard limits": "ulimit -n 512",
    "signals": "trap '' HUP INT USR1",
    "niceness": "renice -n 3 $$ >/dev/null",
    "one processor": "taskset -pc 0 $$ >/dev/null",
    "another file": "exec 9>extra",
    "one thread": "export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1",
}


@pytest.mark.parametrize("before", PREPARATIONS.values(), ids=PREPARATIONS)
def test_a_job_finds_the_same(cold: Execution, warm: Execution, before: str) -> None:
    # Given a script that prepares its process in some way, when it runs a job cold and warm
    found = {}
    for way in (cold, warm):
        run_dir, done = way.run(probe_jobs.looks_around(), before, stdin=subprocess.PIPE)
        assert done.returncode == 0, done.stderr
        found[way] = json.loads(json.dumps(way.output(run_dir)).replace(str(run_dir), "DIR"))

    # Then the jobs find the same
    assert found[warm] == found[cold]


def test_each_job_draws_its_own_numbers(execution: Execution) -> None:
    drawn = [execution.output(execution.run(probe_jobs.draws())[0]) for _ in range(3)]
    assert all(len({str(value) for value in values}) == len(drawn) for values in zip(*drawn, strict=True))


def test_a_job_gets_the_packages_that_jobflow_would_have_imported(cold: Execution, warm: Execution) -> None:
    # Given a cold start, which imports jobflow without some of them
    found = {way: way.output(way.run(probe_jobs.uses_clients())[0]) for way in (cold, warm)}
    # Then the job uses them, directly and by maggma, as in a warm start
    assert found[cold] == found[warm]
    assert found[cold]["deferred"] == []


def test_what_a_job_changes_is_gone_with_it(execution: Execution, tmp_path: Path) -> None:
    # Given a job that changes all it can
    before = execution.output(execution.run(probe_jobs.looks_around())[0])
    ledger = tmp_path / "ledger"
    _, done = execution.run(probe_jobs.leaves_traces(str(ledger)))

    # Then its threads and exit functions ran, its output came in order, and the next job finds nothing of it
    assert ledger.read_text() == "thread\nexit function\n"
    assert done.returncode == 0
    assert [line for line in done.stdout.splitlines() if "INFO" not in line] == [
        "on stdout",
        "unbuffered",
        "buffered",
    ]
    assert "on stderr" in done.stderr
    after = execution.output(execution.run(probe_jobs.looks_around())[0])
    assert {**after, "cwd": "", "child": "", "environment": ""} == {**before, "cwd": "", "child": "", "environment": ""}
    assert "LEFT" not in after["environment"]


ENDS = ["os._exit", "sys.exit", "a text", "raise", "keyboard", "segfault", "abort", "SIGTERM", "SIGKILL", "memory"]


@pytest.mark.parametrize("how", ENDS)
def test_a_job_ends_in_the_same_way(cold: Execution, warm: Execution, how: str) -> None:
    # Given a job that ends its process in some way
    seen = {}
    for way in (cold, warm):
        run_dir, done = way.run(probe_jobs.ends(how), "ulimit -Sc 0")
        output = json.loads((run_dir / "jfremote_out.json").read_text())
        error = (output.get("error") or "").strip().splitlines()[-1:]
        seen[way] = (done.returncode, sorted(output), error)

    # Then script and output file say the same of it
    assert seen[warm] == seen[cold]
    # And the next job is not harmed
    assert warm.run(probe_jobs.draws())[1].returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("whom", ["the group of the script", "the command alone"])
def test_a_job_is_cancelled(execution: Execution, tmp_path: Path, number: signal.Signals, whom: str) -> None:
    # Given a job that runs, with a process of its own
    ready = tmp_path / "ready"
    _, process = execution.start(probe_jobs.waits(str(ready)), "trap - INT")
    wait_until(ready.exists, 60, "the start of the job")
    pids = [int(word) for word in ready.read_text().split()]

    # When the script, or the command in it, gets a signal
    if whom == "the group of the script":
        os.killpg(process.pid, number)
    else:
        (command,) = psutil.Process(process.pid).children()
        command.send_signal(number)

    # Then the job ends
    process.communicate(timeout=20)
    assert process.returncode != 0
    wait_until(lambda: not psutil.pid_exists(pids[0]) or _is_zombie(pids[0]), 20, "the end of the job")
    if psutil.pid_exists(pids[1]):
        psutil.Process(pids[1]).kill()


def _is_zombie(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_without_jobflow_a_job_says_what_is_missing(execution: Execution, tmp_path: Path) -> None:
    # Given an interpreter without packages
    execution.environment["PYTHONPATH"] = str(tmp_path)
    (tmp_path / "jobflow.py").write_text("raise ImportError('no such thing')")
    run_dir, process = execution.start(probe_jobs.draws())
    _, stderr = process.communicate(timeout=100)
    # Then the job starts cold in any case, and its output says what is missing
    assert "cold start" in stderr
    assert "cannot be imported on this worker" in (run_dir / "jfremote_out.json").read_text()
