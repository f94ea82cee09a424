"""The site of a worker, and the connections that the workers of a project share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from jfr_mp.bus.paths import warm_path
from jfr_mp.errors import JfrMpError
from jfr_mp.hosts import BaseHost, HostPool
from jfr_mp.jobdata.files import job_path
from jfr_mp.schedulers import QueueManager
from jfr_mp.schedulers.journal import JournalReader
from jfr_mp.schedulers.leftovers import Leftovers, variables
from jfr_mp.schedulers.script import warm_template
from jfr_mp.sites.circuit_breaker import CircuitBreaker
from jfr_mp.states import JobState

if TYPE_CHECKING:
    from jfr_mp.config import Project
    from jfr_mp.config.workers import ExecutionConfig, WorkerBase
    from jfr_mp.model import JobDoc, JobInfo, JobRecord, Outage


class Connections:
    """The hosts, schedulers and circuit breakers that the workers of a project share.

    It is thread-safe.

    Parameters
    ----------
    project
        The project.
    leaves
        Returns whether output files in a place have to leave this machine, because others complete the jobs.
    """

    def __init__(self, project: Project, leaves: Callable[[str | None], bool] = lambda _place: False) -> None:
        self.project = project
        self.leaves = leaves
        self._hosts = HostPool(project.workers, project.base_dir, project.jfr_mp)
        self._lock = threading.RLock()
        self._schedulers: dict[str, QueueManager] = {}
        self._breakers: dict[Hashable, CircuitBreaker] = {}
        for key, names in self.workers_by_host().items():
            self._breakers[key] = CircuitBreaker(", ".join(names))

    def workers_by_host(self) -> dict[str, list[str]]:
        """Return the names of the workers on each host, by the key of the host."""
        groups: dict[str, list[str]] = {}
        for name, worker in self.project.workers.items():
            groups.setdefault(worker.host_key, []).append(name)
        return groups

    def host(self, name: str) -> BaseHost:
        """Return the connected host of a worker, or raise a `HostError` if it cannot be connected."""
        return self._hosts.connected(name)

    def breaker(self, worker: WorkerBase) -> CircuitBreaker:
        """Return the circuit breaker of the host of a worker."""
        return self._breakers[worker.host_key]

    def scheduler(self, name: str) -> QueueManager:
        """Return the scheduler of a worker on its host; workers with the same scheduler on the same host share it."""
        host, worker = self.host(name), self.project.workers[name]
        with self._lock:
            if worker.scheduler_key not in self._schedulers:
                self._schedulers[worker.scheduler_key] = QueueManager.of_worker(worker, host)
            return self._schedulers[worker.scheduler_key]

    def outages(self) -> list[Outage]:
        """Return the hosts that are unreachable now."""
        return [breaker.outage for breaker in self._breakers.values() if breaker.outage]

    def close(self) -> None:
        """Close every connection."""
        self._hosts.close()


class WorkerSite:
    """The site of one worker: configuration, host, scheduler, journal and circuit breaker.

    Parameters
    ----------
    name
        The name of the worker in the project.
    connections
        The connections that it shares with the other workers.
    """

    def __init__(self, name: str, connections: Connections) -> None:
        self.name = name
        self.project = connections.project
        self.config: WorkerBase = connections.project.worker(name)
        self._connections = connections
        self._journal: JournalReader | None = None
        self._making = threading.Lock()

    @property
    def is_local(self) -> bool:
        """Whether jobs run on this machine."""
        return self.config.is_local

    @property
    def host(self) -> BaseHost:
        """The connected host; a `HostError` is raised if it cannot be connected."""
        return self._connections.host(self.name)

    @property
    def scheduler(self) -> QueueManager:
        """The scheduler on the host."""
        return self._connections.scheduler(self.name)

    @property
    def breaker(self) -> CircuitBreaker:
        """The circuit breaker of the host."""
        return self._connections.breaker(self.config)

    @property
    def journal(self) -> JournalReader:
        """The reader of the worker's journal, created on first use."""
        host = self.host
        with self._making:
            if self._journal is None:
                pause = 0.0 if self.is_local else self.project.jfr_mp.remote_journal_interval
                self._journal = JournalReader(host, self.config.work_dir, pause=pause)
            return self._journal

    @cached_property
    def warm_dir(self) -> Path | None:
        """The directory with the sockets of the warm servers of this machine; None if jobs here start cold."""
        forks = self.is_local and self.config.scheduler_type == "shell" and self.project.jfr_mp.warm
        return warm_path(self.project) if forks else None

    @cached_property
    def script_config(self) -> WorkerBase:
        """The configuration for the scripts of jobs, with the command that runs a job."""
        if self.config.execution_cmd or self.warm_dir is None:
            return self.config
        return self.config.model_copy(update={"execution_cmd": warm_template(self.config, self.warm_dir)})

    @property
    def reaps(self) -> bool:
        """Whether the processes that a job leaves behind are stopped: only the scheduler shell leaves them alone."""
        return self.config.scheduler_type == "shell" and self.project.jfr_mp.reap

    @cached_property
    def leftovers(self) -> Leftovers:
        """What jobs of this worker may have left behind."""
        return Leftovers(lambda: self.host)

    def marked(self, exec_config: ExecutionConfig, submission: str) -> ExecutionConfig:
        """Return the execution configuration of a job, with the variables by which its processes are found."""
        if not self.reaps:
            return exec_config
        return exec_config.model_copy(update={"export": {**(exec_config.export or {}), **variables(submission)}})

    def state_after_run(self, job: JobRecord) -> JobState:
        """Return the state of a job that has ended: the output of a local job needs no download if it stays here."""
        stays = self.is_local and not self._connections.leaves(job.remote.home)
        return JobState.DOWNLOADED if stays else JobState.RUN_FINISHED

    def output_dir(self, job: JobDoc) -> Path:
        """Return the directory on this machine from which the output files of a job are read."""
        if self.is_local and not job.remote.outputs:
            return Path(job.run_dir or "")
        return self.download_dir(job)

    def download_dir(self, job: JobDoc) -> Path:
        """Return the directory on this machine to which the output files of a job are copied."""
        return Path(job_path(job.uuid, job.index, Path(self.project.tmp_dir, "download")))

    def cancel(self, job: JobInfo) -> str | None:
        """Cancel the scheduler job of a stopped job.

        Parameters
        ----------
        job
            The job as it was before it was stopped.

        Returns
        -------
        str or None
            What may still be running, and why; None if nothing is.
        """
        try:
            return self._cancel(job)
        except JfrMpError as error:
            return f"its process {job.remote.process_id or ''} may still be running on worker {self.name}: {error}"

    def _cancel(self, job: JobInfo) -> str | None:
        if job.state in (JobState.SUBMITTED, JobState.RUNNING) and job.remote.process_id:
            self.scheduler.cancel(job.remote.process_id)
            if self.reaps:
                self.scheduler.end_leftovers(job.remote.submission)
        return None
