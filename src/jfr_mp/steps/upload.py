"""CHECKED_OUT to UPLOADED: the run directory exists and contains the input with resolved references."""

from __future__ import annotations

import re
import time
from pathlib import PurePosixPath

from jfr_mp.errors import LeaseLost
from jfr_mp.faultpoints import reach
from jfr_mp.jobdata.files import IN_FILENAME, OUT_FILENAME, job_path
from jfr_mp.jobdata.inputs import input_document, resolve_references
from jfr_mp.jobdata.run_dirs import remove_run_dir
from jfr_mp.jobdata.transfer_stores import transfer_store
from jfr_mp.model import JobDoc
from jfr_mp.outcomes import Advance, Outcome
from jfr_mp.schedulers.submission import SUBMISSION_FILES
from jfr_mp.sites.site import WorkerSite
from jfr_mp.states import JobState
from jfr_mp.steps.services import Services
from jfr_mp.steps.submit import new_submission


def run(job: JobDoc, site: WorkerSite, services: Services) -> Outcome:
    """Create the run directory and write the input to it."""
    begun = time.monotonic()
    host = site.host
    run_dir = job_path(job.uuid, job.index, site.config.work_dir)
    with services.jobstore(job) as jobstore:
        resolve_references(job.job, jobstore, decode=_runs_foreign_command(site))
        store = transfer_store(jobstore, run_dir, services.project.remote_jobstore)
    payload = input_document(job.job, store, job)

    reach("upload.before_put")
    if not services.holds_lease_since(begun):
        # Another process may have run the job since, and the files that are there now belong to that run.
        raise LeaseLost(f"job {job.db_id} was not uploaded: this process was suspended for longer than its lease")
    if job.remote.prerun_cleanup and job.run_dir:
        remove_run_dir(host, job.run_dir)
    # Files of an earlier run would be mistaken for the output, or the submission, of this one.
    where, out_of_date = PurePosixPath(run_dir, IN_FILENAME), (OUT_FILENAME, *SUBMISSION_FILES)
    with services.transfers.of(job.db_id, site.name, "upload") as progress:
        host.deliver(where, payload, instead_of=out_of_date, progress=progress)
    reach("upload.after_put")
    # A job on a local worker stays on the machine with its run directory.
    home = services.places.of_worker(site.name)
    there = {"remote.home": home, "remote.place": home, "remote.outputs": None}
    fields = {"run_dir": run_dir, "remote.prerun_cleanup": False, "remote.submission": new_submission(), **there}
    return Advance(JobState.UPLOADED, fields)


def _runs_foreign_command(site: WorkerSite) -> bool:
    """Return whether jobs run with the worker command of jobflow-remote."""
    command = site.config.execution_cmd
    return command is not None and not re.search(r"\bjfr[-_]mp\b", command)
