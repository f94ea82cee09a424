"""UPLOADED to SUBMITTED: the scheduler has the job, and we have its id."""

from __future__ import annotations

import secrets

from jfr_mp.faultpoints import reach
from jfr_mp.model import JobDoc
from jfr_mp.outcomes import Advance, Fail, Outcome
from jfr_mp.schedulers import job_script
from jfr_mp.services import Services
from jfr_mp.states import JobState


def run(job: JobDoc, services: Services) -> Outcome:
    """Submit the job, or find the submission of an attempt that died before it could write the id down."""
    worker = services.worker(job.worker)
    if worker.is_batch:
        return Fail(f"worker {job.worker!r} is a batch worker, and this version runs none")
    if not job.run_dir:
        return Fail("the job has no run directory; rerun it")
    manager = services.queue_manager(job.worker)
    token = job.remote.submission or new_submission()
    script = job_script(job, worker, services.exec_config(job), manager.scheduler_io, job.run_dir, token)
    # Opened before the job can write to it: what it says from now on is news.
    services.journal(job.worker)
    process_id = manager.submit(script, job.run_dir, token)
    reach("submit.after_submit")
    return Advance(JobState.SUBMITTED, {"remote.process_id": process_id, "remote.submission": token})


def new_submission() -> str:
    """Return a token for the submissions of one upload, which the journal and the name of the job carry."""
    return secrets.token_hex(4)
