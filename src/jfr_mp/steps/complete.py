"""DOWNLOADED to COMPLETED or FAILED: the output is stored, and the requests of the job are carried out."""

from __future__ import annotations

from jfr_mp.faultpoints import reach
from jfr_mp.jobdata.outputs import copy_outputs, read_output
from jfr_mp.jobdata.transfer_stores import transfer_store, transfer_store_names
from jfr_mp.model import JobDoc
from jfr_mp.outcomes import Advance, Outcome
from jfr_mp.sites.site import WorkerSite
from jfr_mp.states import JobState
from jfr_mp.steps.services import Services


def run(job: JobDoc, site: WorkerSite, services: Services) -> Outcome:
    """Copy the output to the JobStore and return how the job ended; fetch it first if another machine downloaded it.

    Repeating this is safe: the output documents are replaced by equal ones.
    """
    directory = site.output_dir(job)
    if job.remote.outputs and not services.exchange.get(job, directory):
        # They were removed from the database: the download brings them again.
        return Advance(JobState.RUN_FINISHED, {"remote.place": job.remote.home, "remote.outputs": None})
    transfer_config = services.project.remote_jobstore
    with services.jobstore(job) as jobstore:
        store_files = transfer_store_names(jobstore, transfer_config)
        completion = read_output(directory, store_files=store_files, run_dir=job.run_dir)
        if completion.state is JobState.COMPLETED:
            copy_outputs(jobstore, transfer_store(jobstore, directory, transfer_config), job)
            reach("complete.after_copy")
    return completion
