"""The workers that jobs run on, how to reach them, and the environment in which jobs are executed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from jfr_mp.config.validation import ConfigModel, invalid, listed, suggestion
from jfr_mp.errors import ConfigError

if TYPE_CHECKING:
    from qtoolkit.io.base import BaseSchedulerIO

#: The schedulers that qtoolkit knows by name.
SCHEDULERS = ("slurm", "pbs", "sge", "shell")


class BatchConfig(ConfigModel):
    """How a batch worker runs many jobs in one batch. Times are in seconds."""

    #: The directory on the worker through which the runner and the batches exchange jobs (the pool).
    jobs_handle_dir: Path
    #: The directory on the worker for the files of the batches; the jobs have their own directories.
    work_dir: Path
    #: The maximum number of jobs that one batch runs.
    max_jobs_per_batch: int | None = None
    #: The time that an idle batch waits for a new job before it ends.
    max_wait: float | None = Field(60, ge=0)
    #: The age at which a batch stops starting jobs.
    max_time: float | None = Field(None, ge=0)
    #: The number of jobs that run at the same time in one batch.
    parallel_jobs: int | None = None
    #: The time between two searches of a batch for a new job.
    sleep_time: float | None = Field(None, ge=0)


class WorkerBase(ConfigModel):
    """The fields that all workers share."""

    #: The kind of worker: how it is reached.
    type: str
    #: The name of a scheduler, or a serialized qtoolkit BaseSchedulerIO.
    scheduler_type: str | dict[str, Any]
    #: The absolute path on the worker that contains the run directories of the jobs.
    work_dir: Path
    #: The default resources to request from the scheduler: values for qtoolkit's template.
    resources: dict[str, Any] | None = None
    #: Shell commands to run before each job.
    pre_run: str | None = None
    #: Shell commands to run after each job.
    post_run: str | None = None
    #: The command that runs a job, with ``{}`` in place of its directory; None for the default command.
    execution_cmd: str | None = None
    #: The maximum run time of a command on the worker, in seconds.
    timeout_execute: int = Field(60, gt=0)
    #: The maximum number of jobs in the queue of the scheduler.
    max_jobs: int | None = Field(None, ge=0)
    #: The batch options, which make the worker a batch worker.
    batch: BatchConfig | None = None
    #: Ask the scheduler for the jobs of this user instead of asking for job ids.
    scheduler_username: str | None = None
    #: Whether text that the user's shell prints after a command is removed from its output; text before it always is.
    sanitize_command: bool = False
    #: Seconds between the end of a job and its download, for file systems that show new files with a delay.
    delay_download: int | None = Field(None, ge=0)

    def model_post_init(self, context: Any, /) -> None:
        """Mark `type` as set, because a file that is written without unset fields cannot be read without it."""
        self.model_fields_set.add("type")

    @field_validator("scheduler_type")
    @classmethod
    def _check_scheduler(cls, value: str | dict[str, Any]) -> str | dict[str, Any]:
        if isinstance(value, str) and value not in SCHEDULERS:
            raise ValueError(f"unknown scheduler{suggestion(value, SCHEDULERS)}; allowed: {listed(SCHEDULERS)}")
        if isinstance(value, dict) and not {"@module", "@class"} <= set(value):
            raise ValueError("a serialized scheduler needs '@module' and '@class'")
        return value

    @field_validator("work_dir")
    @classmethod
    def _check_work_dir(cls, value: Path) -> Path:
        if not value.is_absolute():
            raise ValueError("must be an absolute path, without ~ or variables")
        return value

    @field_validator("execution_cmd")
    @classmethod
    def _check_execution_cmd(cls, value: str | None) -> str | None:
        if value is not None and "{}" not in value:
            raise ValueError("must contain {}, which is replaced by the directory of the job")
        return value

    @property
    def is_local(self) -> bool:
        """Whether the worker is this machine."""
        return self.type == "local"

    @property
    def is_batch(self) -> bool:
        """Whether its jobs run in batches."""
        return self.batch is not None

    @property
    def host_key(self) -> str:
        """A key that is equal for workers that can share one connection; it does not reveal any secrets."""
        return self.type

    @property
    def scheduler_key(self) -> str:
        """A key that is equal for workers that can be covered by one query to a scheduler."""
        fields = self.model_dump(mode="json", include={"scheduler_type", "scheduler_username", "timeout_execute"})
        return f"{self.host_key} {json.dumps(fields, sort_keys=True)}"

    @property
    def cli_info(self) -> dict[str, Any]:
        """The properties of the worker to show in tables."""
        return {"scheduler_type": self.scheduler_type, "work_dir": self.work_dir}

    def get_scheduler_io(self) -> BaseSchedulerIO:
        """Return qtoolkit's object for the scheduler.

        Raises
        ------
        ConfigError
            The serialized scheduler is not one of qtoolkit's.
        """
        from monty.json import MontyDecoder
        from qtoolkit.io import scheduler_mapping
        from qtoolkit.io.base import BaseSchedulerIO

        try:
            if isinstance(self.scheduler_type, str):
                scheduler = scheduler_mapping[self.scheduler_type]()
            else:
                scheduler = MontyDecoder().process_decoded(self.scheduler_type)
        except Exception as error:  # the project file can name any class, which can raise any error
            raise ConfigError(f"scheduler_type: cannot be deserialized: {type(error).__name__}: {error}") from error
        if not isinstance(scheduler, BaseSchedulerIO):
            raise ConfigError("scheduler_type: must be one of qtoolkit's schedulers (a BaseSchedulerIO), serialized")
        return scheduler


class LocalWorker(WorkerBase):
    """The machine on which the runner runs."""

    type: Literal["local"] = "local"


class ConnectionData(BaseModel):
    """How to reach a host by SSH: a gateway, or the host for file transfers.

    Unlike elsewhere, unknown fields are ignored, because jobflow-remote accepts files with such fields.
    """

    model_config = ConfigDict(defer_build=True, hide_input_in_errors=True)

    host: str
    user: str | None = None
    port: int | None = None
    password: str | None = Field(None, repr=False)
    #: The file or files with private keys to try.
    key_filename: str | list[str] | None = None
    #: The passphrase of the private keys.
    passphrase: str | None = Field(None, repr=False)
    #: The gateway to this host, or a command that connects to it.
    gateway: str | ConnectionData | None = None
    #: Further arguments for paramiko's ``SSHClient.connect``.
    connect_kwargs: dict[str, Any] | None = Field(None, repr=False)

    def get_connect_kwargs(self) -> dict[str, Any]:
        """Return the arguments for paramiko's ``SSHClient.connect``, password and keys included."""
        own = {name: getattr(self, name) for name in ("password", "key_filename", "passphrase") if getattr(self, name)}
        return {**(self.connect_kwargs or {}), **own}


class SshWorker(WorkerBase):
    """The fields that workers reached by SSH share; the first fields are those of `ConnectionData`."""

    #: The host name, or an alias in ``~/.ssh/config``.
    host: str
    #: The user name on the host.
    user: str | None = None
    #: The port of the SSH server.
    port: int | None = None
    #: The password, if keys are not used.
    password: str | None = Field(None, repr=False)
    #: The file or files with private keys to try.
    key_filename: str | list[str] | None = None
    #: The passphrase of the private keys.
    passphrase: str | None = Field(None, repr=False)
    #: The gateway to this host, or a command that connects to it.
    gateway: str | ConnectionData | None = None
    #: Whether the host may use the SSH agent of this machine.
    forward_agent: bool | None = None
    #: Seconds that connecting may take.
    connect_timeout: int | None = None
    #: Further arguments for paramiko's ``SSHClient.connect``.
    connect_kwargs: dict[str, Any] | None = Field(None, repr=False)
    #: Whether environment variables are set in the command instead of by SSH requests.
    inline_ssh_env: bool | None = None
    #: Seconds between messages that keep an idle connection open.
    keepalive: int | None = 60
    #: The shell that runs commands; None for the default shell of the host.
    shell_cmd: str | None = "bash"
    #: Whether that shell is a login shell.
    login_shell: bool = True
    #: Whether the user must log in interactively, for example with a one-time password.
    interactive_login: bool = False

    @property
    def host_key(self) -> str:
        """A digest of all fields that affect the connection."""
        connection = set(type(self).model_fields) - set(WorkerBase.model_fields)
        fields = self.model_dump(mode="json", include={*connection, "timeout_execute", "sanitize_command"})
        return f"{self.type}-{hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()}"

    @property
    def cli_info(self) -> dict[str, Any]:
        """The properties of the worker to show in tables."""
        return {"host": self.host, **super().cli_info}


class RemoteWorker(SshWorker):
    """A host reached by SSH."""

    type: Literal["remote"] = "remote"


class SeparatedTransferWorker(SshWorker):
    """A host reached by SSH with a separate host for file transfers, for hosts without SFTP."""

    type: Literal["separated_transfer"] = "separated_transfer"
    #: The host for file transfers; fields that are not set are taken from the first host.
    transfer: ConnectionData

    @property
    def cli_info(self) -> dict[str, Any]:
        """The properties of the worker to show in tables."""
        return {"transfer_host": self.transfer.host, **super().cli_info}


WORKER_TYPES = ("local", "remote", "separated_transfer")


def check_worker_type(data: Any) -> Any:
    """Raise an error that lists the types if a worker has none of them; pydantic's own error lists everything."""
    if isinstance(data, dict) and (kind := data.get("type")) not in WORKER_TYPES:
        wrong = f"unknown type{suggestion(str(kind), WORKER_TYPES)}" if "type" in data else "missing, but needed"
        raise invalid({"type": f"{wrong}; allowed: {listed(WORKER_TYPES)}"})
    return data


WorkerConfig = Annotated[
    Annotated[LocalWorker | RemoteWorker | SeparatedTransferWorker, Field(discriminator="type")],
    BeforeValidator(check_worker_type),
]


class ExecutionConfig(ConfigModel):
    """The environment of a job, selected by its name in the project or given at submission."""

    #: The environment modules to load.
    modules: list[str] | None = None
    #: The environment variables to set.
    export: dict[str, Any] | None = Field(None, repr=False)
    #: Shell commands to run before the job.
    pre_run: str | None = None
    #: Shell commands to run after the job.
    post_run: str | None = None
