"""The scripts of a batch worker: that of an allocation, and those of the jobs that run in it."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

from qtoolkit.io.shell import ShellIO

from jfr_mp.config.workers import BatchConfig, ExecutionConfig
from jfr_mp.errors import ConfigError
from jfr_mp.hosts.quoting import quote
from jfr_mp.jobdata.files import job_path
from jfr_mp.model import JobDoc
from jfr_mp.schedulers import job_script
from jfr_mp.states import JobState

if TYPE_CHECKING:
    from qtoolkit.io.base import BaseSchedulerIO

    from jfr_mp.config.workers import WorkerBase
    from jfr_mp.steps.services import Services

#: An ``execution_cmd`` that is ours or jobflow-remote's: what comes before ``run`` runs a batch as well.
_RUN_COMMAND = re.compile(r"(?P<program>.*\bexecution\s+)run\s+(['\"]?)\{\}\2\s*", re.DOTALL)

#: The options of the batch process, by the fields of the configuration. Those that are 0 or missing are left out.
_OPTIONS = {
    "max_jobs_per_batch": "-mj",
    "max_time": "-mt",
    "max_wait": "-mw",
    "parallel_jobs": "-pj",
    "sleep_time": "-st",
}


def batch_of(worker: WorkerBase) -> BatchConfig:
    """Return the batch options of a worker; ConfigError where it has none."""
    if worker.batch is None:
        raise ConfigError("the worker is no batch worker any more, and jobs are in its pool: give it its batch options")
    return worker.batch


def allocation_dir(worker: WorkerBase, batch_uid: str) -> str:
    """Return the directory of an allocation."""
    return job_path(batch_uid, None, batch_of(worker).work_dir)


def submission_of(batch_uid: str) -> str:
    """Return the token of an allocation's one submission, which every attempt must know."""
    return batch_uid.replace("-", "")[:8]


def batch_command(worker: WorkerBase, batch_uid: str) -> str:
    """Return the shell line that runs the batch process, as a template in which braces are doubled.

    A worker whose ``execution_cmd`` ends in ``execution run {}`` runs its batches by the same program: it may have
    jobflow-remote alone, or ours at a place of its own.
    """
    batch = batch_of(worker)
    match = _RUN_COMMAND.fullmatch(worker.execution_cmd or "")
    if match:
        # The short cut to ours runs single jobs alone.
        program = match["program"].replace("-m jfr_mp.execution", "-m jfr_mp execution")
    elif worker.is_local:
        program = _literal(f"{quote([sys.executable, '-P', '-m', 'jfr_mp', 'execution'])} ")
    else:
        program = "jfr-mp execution "
    words = ["run-batch", str(worker.work_dir), str(batch.jobs_handle_dir), batch_uid]
    for field, option in _OPTIONS.items():
        if value := getattr(batch, field):
            words += [option, f"{value:g}"]
    return program + _literal(quote(words))


def _literal(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def allocation_script(worker_name: str, worker: WorkerBase, batch_uid: str) -> str:
    """Return the submission script of an allocation: to its scheduler it is a job like any other.

    Raises
    ------
    ConfigError
        The scheduler knows no such resources.
    """
    allocation = JobDoc(
        uuid=batch_uid,
        index=0,
        db_id=batch_uid,
        worker=worker_name,
        state=JobState.UPLOADED,
        job={"name": f"batch_{batch_uid}", "hosts": [batch_uid]},
    )
    runs_batch = worker.model_copy(update={"execution_cmd": batch_command(worker, batch_uid)})
    directory, token = allocation_dir(worker, batch_uid), submission_of(batch_uid)
    return job_script(allocation, runs_batch, ExecutionConfig(), worker.get_scheduler_io(), directory, token)


def pooled_script(job: JobDoc, worker: WorkerBase, exec_config: ExecutionConfig, submission: str) -> str:
    """Return the script of a job that runs in an allocation: no header, and nothing that the allocation does."""
    shell: BaseSchedulerIO = ShellIO()  # type: ignore[no-untyped-call]
    runs_job = worker.model_copy(update={"pre_run": None, "post_run": None, "resources": None})
    without_resources = job.model_copy(update={"resources": None})
    return job_script(without_resources, runs_job, exec_config, shell, job.run_dir or "", submission)


def submit_allocation(services: Services, worker_name: str, batch_uid: str) -> str:
    """Submit an allocation, or find the one that an earlier attempt submitted; return the scheduler's id.

    Raises
    ------
    HostError
        See `jfr_mp.schedulers.QueueManager.submit`.
    """
    worker = services.worker(worker_name)
    manager = services.queue_manager(worker_name)
    directory = allocation_dir(worker, batch_uid)
    manager.host.mkdir(directory)
    return manager.submit(allocation_script(worker_name, worker, batch_uid), directory, submission_of(batch_uid))
