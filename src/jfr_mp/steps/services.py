"""The services that a step may use: sites and JobStores, but never the queue database."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

from jfr_mp.batch.site import BatchSite
from jfr_mp.jobdata.jobstores import JobStores
from jfr_mp.outcomes import Outcome
from jfr_mp.sites.in_hand import StepsInHand
from jfr_mp.sites.site import Connections, WorkerSite
from jfr_mp.sites.transfers import Transfers

if TYPE_CHECKING:
    from jobflow import JobStore

    from jfr_mp.config import Project
    from jfr_mp.config.workers import ExecutionConfig
    from jfr_mp.model import JobDoc, JobInfo, Outage


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
    """

    def __init__(
        self,
        project: Project,
        store_name_of: Callable[[JobDoc | JobInfo], str | None],
        holds_lease_since: Callable[[float], bool],
    ) -> None:
        self.project = project
        self.jobstores = JobStores(project)
        self.holds_lease_since = holds_lease_since
        #: The progress of the transfers, reported by the steps.
        self.transfers = Transfers()
        #: The steps that the lanes are performing.
        self.in_hand = StepsInHand(project.jfr_mp.step_limits)
        self.connections = Connections(project)
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
        """Remove the downloaded copies of the output files of a job; the files in its run directory are kept."""
        site = self.site(job.worker)
        if self.project.runner.delete_tmp_folder and not site.is_local:
            shutil.rmtree(site.output_dir(job), ignore_errors=True)

    def close(self) -> None:
        """Close every connection."""
        self.jobstores.close()
        self.connections.close()


#: The function that a step runs on a claimed job.
StepFunction = Callable[["JobDoc", WorkerSite, Services], Outcome]
