"""UPLOADED to SUBMITTED, when the scheduler has the job, or to BATCH_SUBMITTED, when it waits in the worker's pool."""

from __future__ import annotations

import secrets
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from jfr_mp.batch.scripts import pooled_script
from jfr_mp.batch.site import BatchSite
from jfr_mp.execution.warm.direct import Submission, environment_of_script
from jfr_mp.execution.warm.direct import submit as start_directly
from jfr_mp.faultpoints import reach
from jfr_mp.hosts.local import LocalHost
from jfr_mp.jobdata.files import QUEUE_ERR, QUEUE_OUT, SUBMIT_SCRIPT
from jfr_mp.model import JobDoc
from jfr_mp.outcomes import Advance, Fail, Outcome
from jfr_mp.schedulers import job_script
from jfr_mp.schedulers.journal import journal_path
from jfr_mp.schedulers.script import exports_alone
from jfr_mp.schedulers.shell import shown_name
from jfr_mp.schedulers.submission import PROCESS_ID_FILENAME
from jfr_mp.sites.site import WorkerSite
from jfr_mp.states import JobState
from jfr_mp.steps.services import Services

if TYPE_CHECKING:
    from jfr_mp.config.workers import ExecutionConfig


def run(job: JobDoc, site: WorkerSite, services: Services) -> Outcome:
    """Submit the job, or find it if an earlier attempt submitted it and was interrupted."""
    if not job.run_dir:
        return Fail("the job has no run directory; rerun it")
    token = job.remote.submission or new_submission()
    if isinstance(site, BatchSite):
        return _put_into_pool(job, job.run_dir, token, site, services)
    scheduler = site.scheduler
    exec_config = site.marked(services.exec_config(job), token)
    script = job_script(job, site.script_config, exec_config, scheduler.scheduler_io, job.run_dir, token)
    # Opened before the job can write to it: what it says from now on is news.
    _ = site.journal
    process_id = _started(job, job.run_dir, token, script, site, exec_config)
    if process_id is None:
        process_id = scheduler.submit(script, job.run_dir, token)
    reach("submit.after_submit")
    return Advance(JobState.SUBMITTED, {"remote.process_id": process_id, "remote.submission": token})


def _started(
    job: JobDoc, run_dir: str, token: str, script: str, site: WorkerSite, exec_config: ExecutionConfig
) -> str | None:
    """Let a warm server start a job whose script does nothing but run it; return None if the script has to be run."""
    exports = exports_alone(job, site.config, exec_config)
    host = site.host
    if site.warm_dir is None or exports is None or not isinstance(host, LocalHost) or "BASH_ENV" in host.environment:
        return None
    submission = Submission(
        id_file=PROCESS_ID_FILENAME,
        out=QUEUE_OUT,
        err=QUEUE_ERR,
        title=shown_name(job.name),
        journal=str(journal_path(site.config.work_dir)),
        job=f"{job.uuid}_{job.index}",
        token=token,
    )
    # For a user who looks for it, and for a repetition of the submission.
    host.write(PurePosixPath(run_dir, SUBMIT_SCRIPT), script.encode())
    environment = environment_of_script(host.environment, exports, run_dir)
    return start_directly(site.warm_dir, ["run", run_dir], run_dir, environment, submission)


def _put_into_pool(job: JobDoc, run_dir: str, token: str, site: BatchSite, services: Services) -> Outcome:
    """Let the job wait for a batch that takes it."""
    script = pooled_script(job, site.script_config, services.exec_config(job), token)
    _ = site.journal
    site.pool.add(job.uuid, job.index, run_dir, script)
    reach("submit.after_submit")
    fields = {"remote.process_id": None, "remote.submission": token, "remote.batch_losses": 0}
    return Advance(JobState.BATCH_SUBMITTED, fields)


def new_submission() -> str:
    """Return a new submission token, which appears in the journal and in the name of the scheduler job."""
    return secrets.token_hex(4)
