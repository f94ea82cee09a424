"""The project: its database, its outputs, and the workers that its jobs run on."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self, TypeVar

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from jfr_mp.config.options import JfrMpOptions
from jfr_mp.config.settings import LogLevel, get_settings
from jfr_mp.config.stores import build_jobstore, build_store, check_jobstore, check_queue_store
from jfr_mp.config.validation import ConfigModel, inside, invalid, listed, suggestion
from jfr_mp.config.workers import ExecutionConfig, SshWorker, WorkerConfig
from jfr_mp.errors import ConfigError

if TYPE_CHECKING:
    from jobflow import JobStore
    from maggma.core.store import Store

Item = TypeVar("Item")


#: Seconds; not NaN, not infinite and not negative.
Delay = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class RunnerOptions(ConfigModel):
    """The timing of the runner. Times are in seconds."""

    #: The longest time between two searches for READY jobs.
    delay_checkout: Delay = 30
    #: The time between two queries to a scheduler.
    delay_check_run_status: Delay = 30
    #: The longest time between two searches for jobs to upload, submit, download or complete.
    delay_advance_status: Delay = 30
    #: Used only by jobflow-remote; jfr-mp counts the jobs of a worker with `max_jobs` before each submission.
    delay_refresh_limited: Delay = 600
    #: The time between two complete surveys of the pool of a batch worker.
    delay_update_batch: Delay = 60
    #: The time between two heartbeats in the document of the running runner.
    delay_ping_db: Delay = 3600
    #: The age at which a lock of jobflow-remote counts as stale and is broken.
    lock_timeout: Delay | None = 86400
    #: Whether the local copy of a job's files is deleted when the job is completed.
    delete_tmp_folder: bool = True
    #: How many times a failed step is retried before the job goes to REMOTE_ERROR.
    max_step_attempts: int = Field(3, ge=0)
    #: The times to wait after each failed attempt; the last value applies to all further attempts.
    delta_retry: tuple[Delay, ...] = (30, 300, 1200)

    def get_delta_retry(self, step_attempts: int) -> float:
        """Return the seconds to wait after an attempt; the first attempt has the number 1."""
        if not self.delta_retry:
            return 0.0
        return self.delta_retry[max(0, min(step_attempts, len(self.delta_retry)) - 1)]


class QueueConfig(ConfigModel):
    """The database of the jobs and the flows."""

    #: A maggma MongoStore as a dictionary, see `jfr_mp.config.stores`; its collection contains the jobs.
    store: dict[str, Any] = Field(default_factory=dict, repr=False)
    #: The collection of the flows, in the same database.
    flows_collection: str = "flows"
    #: The collection of the auxiliary documents, in the same database.
    auxiliary_collection: str = "jf_auxiliary"
    #: The collection of the batches, in the same database.
    batches_collection: str = "batches"
    #: The prefix of the number in the db_id of each job.
    db_id_prefix: str | None = None

    @field_validator("store")
    @classmethod
    def _check_store(cls, value: dict[str, Any]) -> dict[str, Any]:
        check_queue_store(value)
        return value


class _Metadata(BaseModel):
    """The metadata of a project: arbitrary except for the key of jfr-mp."""

    model_config = ConfigDict(extra="allow", defer_build=True, hide_input_in_errors=True)

    jfr_mp: JfrMpOptions = Field(default_factory=JfrMpOptions)


class Project(ConfigModel):
    """A project file."""

    #: The name of the project.
    name: str = Field(min_length=1)
    #: The directory of the project; by default a directory with its name in the projects folder.
    base_dir: str = Field("", validate_default=True)
    #: The directory for files in transfer; in `base_dir` by default.
    tmp_dir: str = Field("", validate_default=True)
    #: The directory for logs; in `base_dir` by default.
    log_dir: str = Field("", validate_default=True)
    #: The directory for the files of the running processes; in `base_dir` by default.
    daemon_dir: str = Field("", validate_default=True)
    #: The log level of the runner.
    log_level: LogLevel = LogLevel.INFO
    #: The timing of the runner.
    runner: RunnerOptions = Field(default_factory=RunnerOptions)
    #: The workers by name.
    workers: dict[str, WorkerConfig] = Field(default_factory=dict)
    #: The database of the jobs and flows.
    queue: QueueConfig
    #: Execution configurations by name.
    exec_config: dict[str, ExecutionConfig] = Field(default_factory=dict)
    #: The store for outputs: a JobStore as in jobflow's settings, or a serialized one.
    jobstore: dict[str, Any] = Field(
        default_factory=lambda: {"docs_store": {"type": "MemoryStore"}},
        validation_alias=AliasChoices("jobstore", "JOB_STORE"),
        repr=False,
    )
    #: The format of the transfer stores, see `jfr_mp.jobdata.transfer_stores`.
    remote_jobstore: dict[str, Any] | None = None
    #: Arbitrary data, except for the key ``jfr_mp``.
    metadata: dict[str, Any] | None = None
    #: Further JobStores, which a flow can select by name.
    optional_jobstores: dict[str, dict[str, Any]] = Field(default_factory=dict, repr=False)

    @field_validator("name")
    @classmethod
    def _check_name(cls, value: str) -> str:
        """Refuse a name that leads out of the projects folder, where the project has a directory of its name."""
        if "/" in value or value.startswith(".") or not value.isprintable():
            raise ValueError("must not contain '/' or unprintable characters, nor begin with a dot")
        return value

    @field_validator("base_dir", mode="before")
    @classmethod
    def _default_base_dir(cls, value: Any, info: ValidationInfo) -> Any:
        if value or "name" not in info.data:
            return value or ""
        folder = (info.context or {}).get("projects_folder") or get_settings().projects_folder
        return str(Path(folder, info.data["name"]))

    @field_validator("tmp_dir", "log_dir", "daemon_dir", mode="before")
    @classmethod
    def _default_dir(cls, value: Any, info: ValidationInfo) -> Any:
        if value or "base_dir" not in info.data:
            return value or ""
        return str(Path(info.data["base_dir"], str(info.field_name).removesuffix("_dir")))

    @field_validator("jobstore")
    @classmethod
    def _check_jobstore(cls, value: dict[str, Any]) -> dict[str, Any]:
        if value:
            check_jobstore(value)
        return value

    @field_validator("optional_jobstores", mode="before")
    @classmethod
    def _none_is_no_jobstore(cls, value: Any) -> Any:
        return {} if value is None else value

    @field_validator("optional_jobstores")
    @classmethod
    def _check_optional_jobstores(cls, value: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        for name, spec in value.items():
            with inside(name):
                check_jobstore(spec)
        return value

    @field_validator("metadata")
    @classmethod
    def _check_metadata(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        _Metadata.model_validate(value or {})
        return value

    @model_validator(mode="after")
    def _check_jobs_handle_dirs(self) -> Self:
        """Refuse two batch workers with the same pool, because they would take each other's jobs."""
        seen: dict[tuple[str, Path], str] = {}
        for name, worker in self.workers.items():
            if worker.batch is None:
                continue
            other = seen.setdefault((worker.host_key, worker.batch.jobs_handle_dir), name)
            if other != name:
                field = f"workers.{name}.batch.jobs_handle_dir"
                raise invalid({field: f"is also that of worker {other!r} on the same host; use different directories"})
        return self

    @property
    def jfr_mp(self) -> JfrMpOptions:
        """The options specific to jfr-mp, from the metadata."""
        return _Metadata.model_validate(self.metadata or {}).jfr_mp

    def overridden(self, **options: Any) -> Self:
        """Return the project with other options specific to jfr-mp, as the command line gives them."""
        metadata = self.metadata or {}
        changed = {**metadata, "jfr_mp": {**(metadata.get("jfr_mp") or {}), **options}}
        return self.model_copy(update={"metadata": changed})

    @property
    def has_interactive_workers(self) -> bool:
        """Whether any worker requires an interactive login by the user."""
        return any(isinstance(worker, SshWorker) and worker.interactive_login for worker in self.workers.values())

    def worker(self, name: str) -> WorkerConfig:
        """Return the worker with a name, or raise a `ConfigError` that lists the known workers."""
        return self._lookup("worker", self.workers, name)

    def job_limits(self) -> dict[str, int]:
        """Return the workers whose number of jobs in their scheduler is limited, with the maximum.

        A local worker with the scheduler shell has no queue that would hold jobs back; without `max_jobs`,
        `metadata.jfr_mp.local_jobs` limits it. The `max_jobs` of a batch worker counts batches, and is not contained.
        """
        found = {name: self._job_limit(worker) for name, worker in self.workers.items() if not worker.is_batch}
        return {name: most for name, most in found.items() if most}

    def _job_limit(self, worker: WorkerConfig) -> int | None:
        if worker.max_jobs is not None or not worker.is_local or worker.scheduler_type != "shell":
            return worker.max_jobs
        most = self.jfr_mp.local_jobs
        return len(os.sched_getaffinity(0)) if most == "cores" else most

    def get_exec_config(self, name: str) -> ExecutionConfig:
        """Return the execution configuration with a name, or raise a `ConfigError` that lists the known names."""
        return self._lookup("exec_config", self.exec_config, name)

    def get_jobstore(self, name: str | None = None) -> JobStore:
        """Return the JobStore for outputs; it is not connected.

        Parameters
        ----------
        name
            The name of an optional JobStore; None for the default one.

        Raises
        ------
        ConfigError
            There is no JobStore with that name, or its description is not valid.
        """
        spec = self._lookup("optional jobstore", self.optional_jobstores, name) if name else self.jobstore
        field = f"optional_jobstores.{name}" if name else "jobstore"
        if not spec:
            raise ConfigError(f"project {self.name!r}: {field} is empty; describe a JobStore there")
        return self._made(field, build_jobstore, spec)

    def get_queue_store(self) -> Store:
        """Return the maggma store of the jobs, not connected, or raise a `ConfigError` if it is not valid."""
        if not self.queue.store:
            raise ConfigError(f"project {self.name!r}: queue.store is empty; describe a MongoStore there")
        return self._made("queue.store", build_store, self.queue.store)

    def _made(self, field: str, make: Callable[[Mapping[str, Any]], Item], spec: Mapping[str, Any]) -> Item:
        try:
            return make(spec)
        except ConfigError as error:
            raise ConfigError(f"project {self.name!r}: {field}: {error}") from None

    def _lookup(self, kind: str, items: Mapping[str, Item], name: str) -> Item:
        if name in items:
            return items[name]
        raise ConfigError(
            f"project {self.name!r} has no {kind} {name!r}{suggestion(name, items)}; known: {listed(items)}"
        )
