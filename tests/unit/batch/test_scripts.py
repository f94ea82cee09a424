"""The scripts of a batch worker."""

from __future__ import annotations

import shlex
import sys
from typing import Any

import pytest

from jfr_mp.batch.scripts import allocation_script, batch_command, pooled_script
from jfr_mp.config.workers import ExecutionConfig, LocalWorker, RemoteWorker, WorkerBase
from jfr_mp.errors import ConfigError
from jfr_mp.model import JobDoc
from jfr_mp.states import JobState

UID = "01234567-89ab-cdef-0123-456789abcdef"
JOB = "abcdef01-2345-6789-abcd-ef0123456789"
BATCH: dict[str, Any] = {"jobs_handle_dir": "/scratch/the pool", "work_dir": "/batches"}


def local(**fields: Any) -> WorkerBase:
    return LocalWorker.model_validate({"scheduler_type": "shell", "work_dir": "/work", "batch": BATCH, **fields})


def remote(**fields: Any) -> WorkerBase:
    slurm = {"scheduler_type": "slurm", "work_dir": "/work", "host": "cluster", "batch": BATCH}
    return RemoteWorker.model_validate({**slurm, **fields})


@pytest.mark.parametrize(
    ("worker", "program"),
    [
        (local(), [sys.executable, "-P", "-m", "jfr_mp", "execution"]),
        (remote(), ["jfr-mp", "execution"]),
        (remote(execution_cmd="jf -fe execution run {}"), ["jf", "-fe", "execution"]),
        (remote(execution_cmd="python -P -m jfr_mp.execution run {}"), ["python", "-P", "-m", "jfr_mp", "execution"]),
        (remote(execution_cmd="/opt/env/bin/jfr-mp execution run '{}'"), ["/opt/env/bin/jfr-mp", "execution"]),
        (remote(execution_cmd="srun my-command {}"), ["jfr-mp", "execution"]),
    ],
    ids=["local", "remote", "the peer's", "ours, for single jobs", "ours elsewhere", "neither"],
)
def test_the_program(worker: WorkerBase, program: list[str]) -> None:
    words = shlex.split(batch_command(worker, UID))
    assert words == [*program, "run-batch", "/work", "/scratch/the pool", UID, "-mw", "60"]


def test_the_options() -> None:
    options = {"max_jobs_per_batch": 10, "max_time": 3000.5, "max_wait": 0, "parallel_jobs": 4, "sleep_time": 0.5}
    words = shlex.split(batch_command(remote(batch=BATCH | options), UID))
    assert words[6:] == ["-mj", "10", "-mt", "3000.5", "-pj", "4", "-st", "0.5"]


def test_an_allocation_is_a_job_to_its_scheduler() -> None:
    worker = remote(resources={"nodes": 2, "partition": "fast"}, pre_run="module load env", post_run="echo over")
    script = allocation_script("w", worker, UID)
    assert "#SBATCH --nodes=2\n" in script
    assert f"#SBATCH --job-name=batch_{UID}-01234567\n" in script
    assert f"cd /batches/01/23/45/{UID} || exit 1\nmodule load env\njfr-mp execution run-batch" in script
    assert script.rstrip().endswith("echo over")


def test_a_job_in_an_allocation_asks_for_nothing_itself() -> None:
    # Given a job with resources, on a worker with lines for its allocations
    job = JobDoc(
        **{"uuid": JOB, "index": 1, "db_id": "1", "worker": "w", "state": JobState.UPLOADED, "job": {"name": "relax"}},
        run_dir=f"/scratch/{JOB}_1",
        resources={"nodes": 7},
    )
    worker = remote(resources={"nodes": 2}, pre_run="echo for the allocation")

    # When its script is made
    script = pooled_script(job, worker, ExecutionConfig(pre_run="echo for the job"), "token")

    # Then it is a shell script with what is meant for the job alone
    assert "SBATCH" not in script
    assert "for the allocation" not in script
    assert "echo for the job" in script
    assert f"jfr-mp execution run /scratch/{JOB}_1" in script
    assert f"{JOB}_1 token" in script


def test_a_worker_without_batch_options() -> None:
    with pytest.raises(ConfigError, match="no batch worker any more"):
        batch_command(local(batch=None), UID)
