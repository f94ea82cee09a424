"""The scripts of a batch worker: the script of a batch, and the scripts of the jobs that run in it."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

from qtoolkit.io.shell import ShellIO

from jfr_mp.config.workers import ExecutionConfig
from jfr_mp.hosts.quoting import quote
from jfr_mp.model import JobDoc
from jfr_mp.schedulers import job_script
from jfr_mp.states import JobState

if TYPE_CHECKING:
    from qtoolkit.io.base import BaseSchedulerIO

    from jfr_mp.batch.site import BatchSite
    from jfr_mp.config.workers import WorkerBase

#: An ``execution_cmd`` that runs jfr-mp or jobflow-remote: the part before ``run`` also runs batches.
_RUN_COMMAND = re.compile(r"(?P<program>.*\bexecution\s+)run\s+(['\"]?)\{\}\2\s*", re.DOTALL)

#: The options of the batch process, by the fields of the configuration. Fields that are 0 or None are left out.
_OPTIONS = {
    "max_jobs_per_batch": "-mj",
    "max_time": "-mt",
    "max_wait": "-mw",
    "parallel_jobs": "-pj",
    "sleep_time": "-st",
}


def submission_of(batch_uid: str) -> str:
    """Return the submission token of a batch, which is the same for every attempt."""
    return batch_uid.replace("-", "")[:8]


def batch_command(site: BatchSite, batch_uid: str) -> str:
    """Return the shell line that runs a batch, as a template in which braces are doubled.

    If the ``execution_cmd`` of a worker ends in ``execution run {}``, its batches are run by the same program: the
    worker may have only jobflow-remote, or jfr-mp at another path.
    """
    match = _RUN_COMMAND.fullmatch(site.config.execution_cmd or "")
    if match:
        # The short form, jfr_mp.execution, can run single jobs only.
        program = match["program"].replace("-m jfr_mp.execution", "-m jfr_mp execution")
    elif site.is_local:
        program = _literal(f"{quote([sys.executable, '-P', '-m', 'jfr_mp', 'execution'])} ")
    else:
        program = "jfr-mp execution "
    words = ["run-batch", str(site.config.work_dir), str(site.options.jobs_handle_dir), batch_uid]
    for field, option in _OPTIONS.items():
        if value := getattr(site.options, field):
            words += [option, f"{value:g}"]
    # jobflow-remote's program does not know the option, and starts each job cold anyway.
    if not site.project.jfr_mp.warm and "jfr" in program:
        words.append("--cold")
    return program + _literal(quote(words))


def _literal(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def batch_script(site: BatchSite, batch_uid: str) -> str:
    """Return the submission script of a batch, which is an ordinary job for its scheduler.

    Raises
    ------
    ConfigError
        The resources do not suit the scheduler.
    """
    batch = JobDoc(
        uuid=batch_uid,
        index=0,
        db_id=batch_uid,
        worker=site.name,
        state=JobState.UPLOADED,
        job={"name": f"batch_{batch_uid}", "hosts": [batch_uid]},
    )
    runs_batch = site.config.model_copy(update={"execution_cmd": batch_command(site, batch_uid)})
    scheduler_io, token = site.config.get_scheduler_io(), submission_of(batch_uid)
    return job_script(batch, runs_batch, ExecutionConfig(), scheduler_io, site.batch_dir(batch_uid), token)


def pooled_script(job: JobDoc, worker: WorkerBase, exec_config: ExecutionConfig, submission: str) -> str:
    """Return the script of a job that runs in a batch, without a header and without what the batch does once."""
    shell: BaseSchedulerIO = ShellIO()  # type: ignore[no-untyped-call]  # qtoolkit has none here
    runs_job = worker.model_copy(update={"pre_run": None, "post_run": None, "resources": None})
    without_resources = job.model_copy(update={"resources": None})
    return job_script(without_resources, runs_job, exec_config, shell, job.run_dir or "", submission)
