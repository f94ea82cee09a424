"""The services that a step may use: sites and JobStores, but never the queue database."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from jfr_mp.batch.site import BatchSite
from jfr_mp.errors import JfrMpError
from jfr_mp.jobdata.jobstores import JobStores
from jfr_mp.measurements import Measurements
from jfr_mp.outcomes import Outcome
from jfr_mp.places import Places
from jfr_mp.sites.in_hand import StepsInHand
from jfr_mp.sites.site import Connections, WorkerSite
from jfr_mp.sites.transfers import Transfers

if TYPE_CHECKING:
    from jobflow import JobStore

    from jfr_mp.config import Project
    from jfr_mp.config.workers import ExecutionConfig
    from jfr_mp.model import JobDoc, JobInfo, Outage


class Exchange(Protocol):
    """How output files get from the machine that downloads them to the machine that completes the job."""

    def wanted(self, place: str) -> bool:
        """Return whether only processes that do not see a place can complete jobs now."""

    def served(self, place: str) -> bool:
        """Return False if jobs are submitted by processes which do not see this place, and by no other."""

    def put(self, job: JobDoc, directory: Path, names: Iterable[str]) -> str:
        """Store the files of a job that exist; return a token for `JobDoc.remote.outputs`."""

    def get(self, job: JobDoc, directory: Path) -> bool:
        """Write the files of a job into a directory; return False if they are not there."""

    def remove(self, job: JobDoc) -> None:
        """Remove the files of a job that has ended."""


class Services:
    """The sites and stores of one project, opened on first use and kept open.

    Parameters
    ----------
    project
        The project that defines them.
    store_name_of
        Returns the name of the optional JobStore of the flow of a job, or None for the default one.
    holds_lease_since
        Returns whether this process has held its locks since a monotonic time, for operations that no fence protects.
    exchange
        The exchange of output files with other machines; None if jobs are completed here.
    measurements
        Where the engine notes what it measures; None for nowhere.
    """

    def __init__(
        self,
        project: Project,
        store_name_of: Callable[[JobDoc | JobInfo], str | None],
        holds_lease_since: Callable[[float], bool],
        exchange: Exchange | None = None,
        measurements: Measurements | None = None,
    ) -> None:
        self.project = project
        self.jobstores = JobStores(project)
        self.holds_lease_since = holds_lease_since
        #: The progress of the transfers, reported by the steps.
        self.transfers = Transfers()
        #: The steps that the lanes are performing.
        self.in_hand = StepsInHand(project.jfr_mp.step_limits)
        self.connections = Connections(project, self.leaves)
        #: The directories that this machine shares with others, or not.
        self.places = Places(project)
        self._exchange = exchange
        self.measurements = measurements or Measurements()
        self._store_name_of = store_name_of
        self._sites: dict[str, WorkerSite] = {}
        self._making = threading.Lock()

    def site(self, worker_name: str) -> WorkerSite:
        """Return the site of a worker, or raise a `ConfigError` that lists the workers of the project."""
        with self._making:
            if worker_name not in self._sites:
                kind = BatchSite if self.project.worker(worker_name).is_batch else WorkerSite
                self._sites[worker_name] = kind(worker_name, self.connections)
            return self._sites[worker_name]

    @property
    def exchange(self) -> Exchange:
        """The exchange of output files with other machines."""
        if self._exchange is None:
            raise JfrMpError(
                "the output of this job was downloaded on another machine: complete it with `jfr-mp start`"
            )
        return self._exchange

    def leaves(self, place: str | None) -> bool:
        """Return whether output files in a place have to leave this machine, because others complete the jobs."""
        return self._exchange is not None and place is not None and self._exchange.wanted(place)

    def unserved_workers(self) -> list[str]:
        """Return the local workers whose jobs another machine submits, which does not see their directory here."""
        exchange, here = self._exchange, self.places.of_workers()
        return [name for name, place in here.items() if exchange is not None and not exchange.served(place)]

    def outages(self) -> list[Outage]:
        """Return the hosts that are unreachable now."""
        return self.connections.outages()

    def jobstore(self, job: JobDoc | JobInfo) -> AbstractContextManager[JobStore]:
        """Return a context manager for the connected JobStore with the output of a job."""
        return self.jobstores.named(self._store_name_of(job) if self.project.optional_jobstores else None)

    def exec_config(self, job: JobDoc) -> ExecutionConfig:
        """Return the execution configuration of a job."""
        from jfr_mp.config.workers import ExecutionConfig

        if isinstance(job.exec_config, str):
            return self.project.get_exec_config(job.exec_config)
        return ExecutionConfig.model_validate(job.exec_config or {})

    def forget_output(self, job: JobDoc) -> None:
        """Remove the copies of the output files of a job that was completed; its run directory is kept."""
        if job.remote.outputs:
            self.exchange.remove(job)
        self.forget_download(job)

    def forget_download(self, job: JobDoc) -> None:
        """Remove the files of a job that were downloaded to this machine."""
        if self.project.runner.delete_tmp_folder:
            shutil.rmtree(self.site(job.worker).download_dir(job), ignore_errors=True)

    def close(self) -> None:
        """Close every connection."""
        self.jobstores.close()
        self.connections.close()


#: The function that a step runs on a claimed job.
StepFunction = Callable[["JobDoc", WorkerSite, Services], Outcome]
