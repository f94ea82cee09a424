"""RUN_FINISHED to DOWNLOADED: the output files are copied to the directory from which the complete role reads them."""

from __future__ import annotations

from jfr_mp.errors import HostError
from jfr_mp.faultpoints import reach
from jfr_mp.hosts.file_errors import is_permanent
from jfr_mp.jobdata.files import OUT_FILENAME, QUEUE_ERR, QUEUE_OUT
from jfr_mp.jobdata.transfer_stores import store_limits, transfer_store_names
from jfr_mp.jobdata.untrusted import DOCUMENT_LIMIT
from jfr_mp.model import JobDoc
from jfr_mp.outcomes import Advance, Fail, Outcome
from jfr_mp.sites.site import WorkerSite
from jfr_mp.states import JobState
from jfr_mp.steps.services import Services


def run(job: JobDoc, site: WorkerSite, services: Services) -> Outcome:
    """Copy the output files to this machine, and into the exchange if another machine completes the job.

    The files of a local worker are on this machine already. Missing files are not an error here; the complete step
    decides what they mean.
    """
    if site.is_local and not services.leaves(job.remote.home):
        return Advance(JobState.DOWNLOADED)
    if not job.run_dir:
        return Fail("the job has no run directory; rerun it")
    with services.jobstore(job) as jobstore:
        store_files = transfer_store_names(jobstore, services.project.remote_jobstore)
    texts = (QUEUE_OUT, QUEUE_ERR)
    names = {**dict.fromkeys((*texts, OUT_FILENAME), DOCUMENT_LIMIT), **store_limits(store_files)}
    place, target = services.places.downloads(), site.download_dir(job)
    try:
        with services.transfers.of(job.db_id, site.name, "download") as progress:
            site.host.fetch(job.run_dir, names, target, excerpts=texts, progress=progress)
    except OSError as error:
        # An error on this machine: errors on the host are raised as HostError.
        raise HostError(
            f"this machine: cannot write to {target}: {error.strerror or error}", permanent=is_permanent(error)
        ) from error
    reach("download.after_get")
    if not services.leaves(place):
        return Advance(JobState.DOWNLOADED, {"remote.place": place, "remote.outputs": None})
    token = services.exchange.put(job, target, names)
    services.forget_download(job)
    return Advance(JobState.DOWNLOADED, {"remote.place": None, "remote.outputs": token})
