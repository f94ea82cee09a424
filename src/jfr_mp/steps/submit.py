"""UPLOADED to SUBMITTED, when the scheduler has the job, or to BATCH_SUBMITTED, when it waits in the worker's pool."""

from __future__ import annotations

import secrets

from jfr_mp.batch.scripts import pooled_script
from jfr_mp.batch.site import BatchSite
from jfr_mp.faultpoints import reach
from jfr_mp.model import JobDoc
from jfr_mp.outcomes import Advance, Fail, Outcome
from jfr_mp.schedulers import job_script
from jfr_mp.sites.site import WorkerSite
from jfr_mp.states import JobState
from jfr_mp.steps.services import Services


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
    process_id = scheduler.submit(script, job.run_dir, token)
    reach("submit.after_submit")
    return Advance(JobState.SUBMITTED, {"remote.process_id": process_id, "remote.submission": token})


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
