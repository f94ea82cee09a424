"""The public `ConfigManager`, whose projects provide access to their jobs and hosts, as in jobflow-remote."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field, PrivateAttr

from jfr_mp import config
from jfr_mp.config import workers

if TYPE_CHECKING:
    from jfr_mp.api.controller import JobController
    from jfr_mp.api.hosts import WorkerHost


class WorkerWithHost(workers.WorkerBase):
    """A worker with the method `get_host`."""

    _base_dir: str | None = PrivateAttr(None)

    def get_host(self) -> WorkerHost:
        """Return the host of the worker, not connected.

        Keys of new hosts are recorded in the directory of the project; a worker without a project refuses new hosts.
        """
        from jfr_mp.api.hosts import WorkerHost
        from jfr_mp.hosts.host_pool import host_of

        return WorkerHost(host_of(self, self._base_dir), self.timeout_execute)


class LocalWorker(workers.LocalWorker, WorkerWithHost):
    """The machine on which the runner runs."""


class RemoteWorker(workers.RemoteWorker, WorkerWithHost):
    """A host reached by SSH."""


class SeparatedTransferWorker(workers.SeparatedTransferWorker, WorkerWithHost):
    """A host reached by SSH with a separate host for file transfers, for hosts without SFTP."""


WorkerConfig = Annotated[
    Annotated[LocalWorker | RemoteWorker | SeparatedTransferWorker, Field(discriminator="type")],
    BeforeValidator(workers.check_worker_type),
]


class Project(config.Project):
    """A project with the method `get_job_controller`, whose workers have the method `get_host`."""

    workers: dict[str, WorkerConfig] = Field(default_factory=dict)  # type: ignore[assignment]  # the same with hosts

    def model_post_init(self, context: Any, /) -> None:
        """Let the workers know where to record the keys of hosts."""
        for worker in self.workers.values():
            worker._base_dir = self.base_dir  # noqa: SLF001 - pydantic has no other kind of field for it

    def get_job_controller(self) -> JobController:
        """Return a controller for the jobs of this project."""
        from jfr_mp.api.controller import JobController

        return JobController.from_project(self)


class ConfigManager(config.ConfigManager):
    """The projects of the user; see `jfr_mp.config.ConfigManager`."""

    project_class = Project
