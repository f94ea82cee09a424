"""What a step may use of the outside world: hosts, schedulers and JobStores, never the queue database."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from jfr_mp.hosts import HostPool
from jfr_mp.hosts.transfers import Transfers
from jfr_mp.jobdata.files import job_path
from jfr_mp.jobdata.jobstores import JobStores
from jfr_mp.steps.circuit_breaker import CircuitBreaker

if TYPE_CHECKING:
    from jobflow import JobStore

    from jfr_mp.config import Project
    from jfr_mp.config.workers import ExecutionConfig, WorkerBase
    from jfr_mp.hosts import BaseHost
    from jfr_mp.model import JobDoc, Outage
    from jfr_mp.schedulers import QueueManager
    from jfr_mp.schedulers.journal import JournalReader


class Services:
    """The hosts, schedulers and stores of one project, opened when first used and kept.

    Parameters
    ----------
    project
        The project that defines them.
    store_name_of_flow
        Tells the name of the optional JobStore of a flow, or None.
    """

    def __init__(self, project: Project, store_name_of_flow: Callable[[str], str | None]) -> None:
        self.project = project
        self.jobstores = JobStores(project, store_name_of_flow)
        self._hosts = HostPool(project.workers, project.base_dir)
        #: Tells whether this process has kept its locks since a monotonic time, for what no fence in a database guards.
        self.holds_lease_since: Callable[[float], bool] = lambda _moment: True
        #: Where the steps say how far their transfers are.
        self.transfers = Transfers()
        self._healths: dict[str, CircuitBreaker] = {}
        # Lanes of several threads share hosts and what is built on them.
        self._making = threading.RLock()
        self._queue_managers: dict[str, QueueManager] = {}
        self._journals: dict[str, JournalReader] = {}

    def worker(self, name: str) -> WorkerBase:
        """Return the configuration of a worker; ConfigError names the known ones."""
        return self.project.worker(name)

    def host(self, worker_name: str) -> BaseHost:
        """Return the connected host of a worker; workers on the same host share it."""
        self.worker(worker_name)
        return self._hosts.connected(worker_name)

    def health(self, host_name: str) -> CircuitBreaker:
        """Return the circuit breaker of a host, by the name that status shows."""
        with self._making:
            return self._healths.setdefault(host_name, CircuitBreaker(host_name))

    def outages(self) -> list[Outage]:
        """Return the hosts that cannot be worked with now."""
        with self._making:
            return [health.outage for health in self._healths.values() if health.outage]

    def queue_manager(self, worker_name: str) -> QueueManager:
        """Return the scheduler of a worker, joined to its host; workers with the same scheduler there share it."""
        host, worker = self.host(worker_name), self.worker(worker_name)
        with self._making:
            if worker.scheduler_key not in self._queue_managers:
                from jfr_mp.schedulers import QueueManager

                self._queue_managers[worker.scheduler_key] = QueueManager.of_worker(worker, host)
            return self._queue_managers[worker.scheduler_key]

    def journal(self, worker_name: str) -> JournalReader:
        """Return the journal of a worker, read from where it was when it was first asked for."""
        host = self.host(worker_name)
        with self._making:
            if worker_name not in self._journals:
                from jfr_mp.schedulers.journal import JournalReader

                worker = self.worker(worker_name)
                pause = 0.0 if worker.is_local else self.project.jfr_mp.remote_journal_interval
                self._journals[worker_name] = JournalReader(host, worker.work_dir, pause=pause)
            return self._journals[worker_name]

    def jobstore(self, job: JobDoc) -> AbstractContextManager[JobStore]:
        """Lend the connected JobStore that keeps the output of a job."""
        return self.jobstores.of_flow(job.flow_uuid)

    def exec_config(self, job: JobDoc) -> ExecutionConfig:
        """Return what is to be set before and after the execution of a job."""
        from jfr_mp.config.workers import ExecutionConfig

        if isinstance(job.exec_config, str):
            return self.project.get_exec_config(job.exec_config)
        return ExecutionConfig.model_validate(job.exec_config or {})

    def output_dir(self, job: JobDoc) -> Path:
        """Return the directory of this machine in which the output files of a job are, or will be."""
        if self.worker(job.worker).is_local:
            return Path(job.run_dir or "")
        return Path(job_path(job.uuid, job.index, Path(self.project.tmp_dir, "download")))

    def forget_output(self, job: JobDoc) -> None:
        """Remove the copies of a job's output files that were downloaded; those in its run directory stay."""
        if self.project.runner.delete_tmp_folder and not self.worker(job.worker).is_local:
            shutil.rmtree(self.output_dir(job), ignore_errors=True)

    def close(self) -> None:
        """Close every connection."""
        self.jobstores.close()
        self._hosts.close()
