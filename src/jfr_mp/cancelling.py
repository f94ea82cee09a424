"""The end of what a stopped job has left running on its worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jfr_mp.batch.markers import Marker, Place
from jfr_mp.errors import JfrMpError
from jfr_mp.states import JobState

if TYPE_CHECKING:
    from jfr_mp.model import JobInfo
    from jfr_mp.steps.services import Services


def cancel_process(services: Services, job: JobInfo) -> str | None:
    """Cancel a job that was stopped at its scheduler, or take it out of the pool of its batch worker.

    Parameters
    ----------
    job
        The job as it was before it was stopped.

    Returns
    -------
    str or None
        What is still running, and why; None where nothing is.
    """
    try:
        match job.state:
            case JobState.SUBMITTED | JobState.RUNNING if job.remote.process_id:
                services.queue_manager(job.worker).cancel(job.remote.process_id)
            case JobState.BATCH_SUBMITTED:
                _leave_pool(services, job)
            case JobState.BATCH_RUNNING:
                return "it runs in an allocation of its batch worker, among other jobs, and goes on there to its end"
    except JfrMpError as error:
        return f"its process {job.remote.process_id or ''} may go on on worker {job.worker}: {error}"
    return None


def _leave_pool(services: Services, job: JobInfo) -> None:
    from jfr_mp.batch.pool import Pool

    worker = services.worker(job.worker)
    if worker.batch is not None:
        pool = Pool(services.host(job.worker), worker.batch.jobs_handle_dir, worker.timeout_execute)
        pool.discard([Marker(job.uuid, job.index, Place.SUBMITTED)])
