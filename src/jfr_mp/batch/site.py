"""The site of a batch worker, with the pool through which jobs reach the batches that run them."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from jfr_mp.batch.markers import Marker, Place
from jfr_mp.batch.pool import Pool
from jfr_mp.errors import ConfigError
from jfr_mp.jobdata.files import job_path
from jfr_mp.sites.site import Connections, WorkerSite
from jfr_mp.states import JobState

if TYPE_CHECKING:
    from jfr_mp.config.workers import BatchConfig
    from jfr_mp.model import JobInfo


class BatchSite(WorkerSite):
    """One batch worker; the parameters are those of `WorkerSite`.

    Raises
    ------
    ConfigError
        The worker has no batch options.
    """

    def __init__(self, name: str, connections: Connections) -> None:
        super().__init__(name, connections)
        if self.config.batch is None:
            raise ConfigError(f"worker {name} is not a batch worker; add batch options to it in the project file")
        self.options: BatchConfig = self.config.batch

    @cached_property
    def pool(self) -> Pool:
        """The pool, on the connected host of the worker."""
        return Pool(self.host, self.options.jobs_handle_dir, self.config.timeout_execute)

    def batch_dir(self, batch_uid: str) -> str:
        """Return the working directory of a batch."""
        return job_path(batch_uid, None, self.options.work_dir)

    def _cancel(self, job: JobInfo) -> str | None:
        match job.state:
            case JobState.BATCH_SUBMITTED:
                self.pool.discard([Marker(job.uuid, job.index, Place.SUBMITTED)])
            case JobState.BATCH_RUNNING:
                return "it is running in a batch together with other jobs, and continues there until it ends"
            case _:
                return super()._cancel(job)
        return None
