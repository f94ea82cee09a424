"""UPLOADED to SUBMITTED: the scheduler has the job, and we have its id; or to BATCH_SUBMITTED: it is in the pool."""

from __future__ import annotations

import secrets

from jfr_mp.batch.pool import Pool
from jfr_mp.batch.scripts import pooled_script
from jfr_mp.config.workers import BatchConfig, WorkerBase
from jfr_mp.faultpoints import reach
from jfr_mp.model import JobDoc
from jfr_mp.outcomes import Advance, Fail, Outcome
from jfr_mp.schedulers import job_script
from jfr_mp.states import JobState
from jfr_mp.steps.services import Services


def run(job: JobDoc, services: Services) -> Outcome:
    """Submit the job, or find the submission of an attempt that died before it could write the id down."""
    worker = services.worker(job.worker)
    if not job.run_dir:
        return Fail("the job has no run directory; rerun it")
    if worker.batch is not None:
        return _put_into_pool(job, job.run_dir, worker, worker.batch, services)
    manager = services.queue_manager(job.worker)
    token = job.remote.submission or new_submission()
    script = job_script(job, worker, services.exec_config(job), manager.scheduler_io, job.run_dir, token)
    # Opened before the job can write to it: what it says from now on is news.
    services.journal(job.worker)
    process_id = manager.submit(script, job.run_dir, token)
    reach("submit.after_submit")
    return Advance(JobState.SUBMITTED, {"remote.process_id": process_id, "remote.submission": token})


def _put_into_pool(job: JobDoc, run_dir: str, worker: WorkerBase, batch: BatchConfig, services: Services) -> Outcome:
    """Let the job wait for an allocation of its batch worker."""
    token = job.remote.submission or new_submission()
    script = pooled_script(job, worker, services.exec_config(job), token)
    services.journal(job.worker)
    pool = Pool(services.host(job.worker), batch.jobs_handle_dir, worker.timeout_execute)
    pool.add(job.uuid, job.index, run_dir, script)
    reach("submit.after_submit")
    fields = {"remote.process_id": None, "remote.submission": token, "remote.batch_losses": 0}
    return Advance(JobState.BATCH_SUBMITTED, fields)


def new_submission() -> str:
    """Return a token for the submissions of one upload, which the journal and the name of the job carry."""
    return secrets.token_hex(4)
