"""The scripts of a batch worker: that of a batch, and those of the jobs that run in it."""

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


def submission_of(batch_uid: str) -> str:
    """Return the token of the one submission of a batch, which every attempt must know."""
    return batch_uid.replace("-", "")[:8]


def batch_command(site: BatchSite, batch_uid: str) -> str:
    """Return the shell line that runs a batch, as a template in which braces are doubled.

    A worker whose ``execution_cmd`` ends in ``execution run {}`` runs its batches by the same program: it may have
    jobflow-remote alone, or jfr-mp at a place of its own.
    """
    match = _RUN_COMMAND.fullmatch(site.config.execution_cmd or "")
    if match:
        # The short cut of jfr-mp runs single jobs alone.
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
    """Return the submission script of a batch: to its scheduler it is a job like any other.

    Raises
    ------
    ConfigError
        The scheduler knows no such resources.
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
    """Return the script of a job that runs in a batch: no header, and nothing that the batch does for all its jobs."""
    shell: BaseSchedulerIO = ShellIO()  # type: ignore[no-untyped-call]
    runs_job = worker.model_copy(update={"pre_run": None, "post_run": None, "resources": None})
    without_resources = job.model_copy(update={"resources": None})
    return job_script(without_resources, runs_job, exec_config, shell, job.run_dir or "", submission)
