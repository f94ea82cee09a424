"""The scripts of a batch worker."""

from __future__ import annotations

import shlex
import sys
from typing import Any

import pytest

from jfr_mp.batch.scripts import batch_command, batch_script, pooled_script
from jfr_mp.batch.site import BatchSite
from jfr_mp.config.workers import ExecutionConfig
from jfr_mp.errors import ConfigError
from jfr_mp.model import JobDoc
from jfr_mp.sites.site import Connections
from jfr_mp.states import JobState
from tests.support.sites import batch_site, local_site, project_with, remote_site

UID = "01234567-89ab-cdef-0123-456789abcdef"
JOB = "abcdef01-2345-6789-abcd-ef0123456789"
BATCH: dict[str, Any] = {"jobs_handle_dir": "/scratch/the pool", "work_dir": "/batches"}


def local(**fields: Any) -> BatchSite:
    return batch_site(local_site(**{"batch": BATCH, **fields}))


def remote(**fields: Any) -> BatchSite:
    return batch_site(remote_site(**{"batch": BATCH, **fields}))


@pytest.mark.parametrize(
    ("site", "program"),
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
def test_the_program(site: BatchSite, program: list[str]) -> None:
    words = shlex.split(batch_command(site, UID))
    assert words == [*program, "run-batch", "/work", "/scratch/the pool", UID, "-mw", "60"]


def test_the_options() -> None:
    options = {"max_jobs_per_batch": 10, "max_time": 3000.5, "max_wait": 0, "parallel_jobs": 4, "sleep_time": 0.5}
    words = shlex.split(batch_command(remote(batch=BATCH | options), UID))
    assert words[6:] == ["-mj", "10", "-mt", "3000.5", "-pj", "4", "-st", "0.5"]


def test_a_batch_is_a_job_to_its_scheduler() -> None:
    site = remote(resources={"nodes": 2, "partition": "fast"}, pre_run="module load env", post_run="echo over")
    script = batch_script(site, UID)
    assert "#SBATCH --nodes=2\n" in script
    assert f"#SBATCH --job-name=batch_{UID}-01234567\n" in script
    assert f"cd /batches/01/23/45/{UID} || exit 1\nmodule load env\njfr-mp execution run-batch" in script
    assert script.rstrip().endswith("echo over")


def test_a_job_in_a_batch_asks_for_nothing_itself() -> None:
    # Given a job with resources, on a worker with lines for its batches
    job = JobDoc(
        **{"uuid": JOB, "index": 1, "db_id": "1", "worker": "w", "state": JobState.UPLOADED, "job": {"name": "relax"}},
        run_dir=f"/scratch/{JOB}_1",
        resources={"nodes": 7},
    )
    worker = remote(resources={"nodes": 2}, pre_run="echo for the batch").config

    # When its script is made
    script = pooled_script(job, worker, ExecutionConfig(pre_run="echo for the job"), "token")

    # Then it is a shell script with what is meant for the job alone
    assert "SBATCH" not in script
    assert "for the batch" not in script
    assert "echo for the job" in script
    assert f"jfr-mp execution run /scratch/{JOB}_1" in script
    assert f"{JOB}_1 token" in script


def test_a_worker_without_batch_options() -> None:
    connections = Connections(project_with(w={"type": "local", "scheduler_type": "shell", "work_dir": "/work"}))
    with pytest.raises(ConfigError, match="is not a batch worker"):
        BatchSite("w", connections)
