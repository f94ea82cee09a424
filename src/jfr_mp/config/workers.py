"""The clusters that jobs run on (workers), how to reach them, and what surrounds the execution of a job there."""

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
    """How a batch worker runs many jobs in one allocation. Times are in seconds."""

    #: The directory on the worker through which the runner and the allocations exchange jobs.
    jobs_handle_dir: Path
    #: The directory on the worker in which the allocations run; the jobs keep their own directories.
    work_dir: Path
    #: The most jobs that one allocation runs.
    max_jobs_per_batch: int | None = None
    #: How long an allocation waits for a new job before it ends.
    max_wait: float | None = 60
    #: The age at which an allocation starts no more jobs.
    max_time: float | None = None
    #: The number of jobs that run at the same time in one allocation.
    parallel_jobs: int | None = None
    #: How long an allocation sleeps before it looks for a job again.
    sleep_time: float | None = None


class WorkerBase(ConfigModel):
    """What all workers have in common."""

    #: How the worker is reached.
    type: str
    #: The name of a scheduler, or a serialized qtoolkit BaseSchedulerIO.
    scheduler_type: str | dict[str, Any]
    #: The absolute path on the worker under which each job gets its directory.
    work_dir: Path
    #: What jobs ask of the scheduler unless they say otherwise: values for qtoolkit's template.
    resources: dict[str, Any] | None = None
    #: Shell commands before and after each job.
    pre_run: str | None = None
    post_run: str | None = None
    #: The command that runs a job, with ``{}`` in the place of its directory; None for the usual one.
    execution_cmd: str | None = None
    #: Seconds that a command on the worker may take.
    timeout_execute: int = 60
    #: The most jobs that are in the queue of the scheduler at one time.
    max_jobs: int | None = Field(None, ge=0)
    #: Makes the worker a batch worker.
    batch: BatchConfig | None = None
    #: Ask the scheduler for the jobs of this user instead of asking by their ids.
    scheduler_username: str | None = None
    #: Whether text that the user's shell prints after a command is removed from its output; text before it always is.
    sanitize_command: bool = False
    #: Seconds between the end of a job and its download, for file systems that show new files late.
    delay_download: int | None = None

    def model_post_init(self, context: Any, /) -> None:
        """Let `type` always count as set: without it nobody can read a file that leaves out what was not set."""
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
            raise ValueError("must contain {}, which stands for the directory of the job")
        return value

    @property
    def is_local(self) -> bool:
        """Whether the worker is this machine."""
        return self.type == "local"

    @property
    def is_batch(self) -> bool:
        """Whether many jobs share one allocation."""
        return self.batch is not None

    @property
    def host_key(self) -> str:
        """A text that is equal for workers that can share one connection; it shows nothing of their secrets."""
        return self.type

    @property
    def scheduler_key(self) -> str:
        """A text that is equal for workers that one question to a scheduler can be about."""
        fields = self.model_dump(mode="json", include={"scheduler_type", "scheduler_username", "timeout_execute"})
        return f"{self.host_key} {json.dumps(fields, sort_keys=True)}"

    @property
    def cli_info(self) -> dict[str, Any]:
        """What tables show of the worker."""
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
        except Exception as error:  # Any class can be named there, and raise anything.
            raise ConfigError(f"scheduler_type: cannot be deserialized: {type(error).__name__}: {error}") from error
        if not isinstance(scheduler, BaseSchedulerIO):
            raise ConfigError("scheduler_type: must be one of qtoolkit's schedulers (a BaseSchedulerIO), serialized")
        return scheduler


class LocalWorker(WorkerBase):
    """The machine that the runner is on."""

    type: Literal["local"] = "local"


class ConnectionData(BaseModel):
    """How to reach a host by SSH: a gateway, or the host that takes the files.

    Unlike elsewhere, an unknown field is ignored: jobflow-remote accepts files with such fields.
    """

    model_config = ConfigDict(hide_input_in_errors=True)

    host: str
    user: str | None = None
    port: int | None = None
    password: str | None = Field(None, repr=False)
    #: The file or files with private keys to try.
    key_filename: str | list[str] | None = None
    #: What decrypts the private keys.
    passphrase: str | None = Field(None, repr=False)
    #: The host before this one, or a command that connects to it.
    gateway: str | ConnectionData | None = None
    #: Further arguments of paramiko's ``SSHClient.connect``.
    connect_kwargs: dict[str, Any] | None = Field(None, repr=False)


class SshWorker(WorkerBase):
    """What the workers that are reached by SSH have in common; the first fields are those of `ConnectionData`."""

    host: str
    user: str | None = None
    port: int | None = None
    password: str | None = Field(None, repr=False)
    key_filename: str | list[str] | None = None
    passphrase: str | None = Field(None, repr=False)
    gateway: str | ConnectionData | None = None
    #: Whether the host may use the SSH agent of this machine.
    forward_agent: bool | None = None
    #: Seconds.
    connect_timeout: int | None = None
    connect_kwargs: dict[str, Any] | None = Field(None, repr=False)
    #: Whether environment variables are put in front of commands instead of sent as requests.
    inline_ssh_env: bool | None = None
    #: Seconds between messages that keep an idle connection open.
    keepalive: int | None = 60
    #: The shell that runs commands; None to leave it to the host.
    shell_cmd: str | None = "bash"
    #: Whether that shell is a login shell.
    login_shell: bool = True
    #: Whether a person must be there to log in, to type a one-time password for example.
    interactive_login: bool = False

    @property
    def host_key(self) -> str:
        """A digest of all that makes a connection."""
        connection = set(type(self).model_fields) - set(WorkerBase.model_fields)
        fields = self.model_dump(mode="json", include={*connection, "timeout_execute", "sanitize_command"})
        return f"{self.type}-{hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()}"

    @property
    def cli_info(self) -> dict[str, Any]:
        """What tables show of the worker."""
        return {"host": self.host, **super().cli_info}


class RemoteWorker(SshWorker):
    """A host reached by SSH."""

    type: Literal["remote"] = "remote"


class SeparatedTransferWorker(SshWorker):
    """A host reached by SSH whose files go through another host, where the first one offers no SFTP."""

    type: Literal["separated_transfer"] = "separated_transfer"
    #: The host that takes the files; what it leaves out is as for the first one.
    transfer: ConnectionData

    @property
    def cli_info(self) -> dict[str, Any]:
        """What tables show of the worker."""
        return {"transfer_host": self.transfer.host, **super().cli_info}


WORKER_TYPES = ("local", "remote", "separated_transfer")


def _check_worker_type(data: Any) -> Any:
    if isinstance(data, dict) and (kind := data.get("type")) not in WORKER_TYPES:
        wrong = f"unknown type{suggestion(str(kind), WORKER_TYPES)}" if "type" in data else "missing, but needed"
        raise invalid({"type": f"{wrong}; allowed: {listed(WORKER_TYPES)}"})
    return data


WorkerConfig = Annotated[
    Annotated[LocalWorker | RemoteWorker | SeparatedTransferWorker, Field(discriminator="type")],
    BeforeValidator(_check_worker_type),
]


class ExecutionConfig(ConfigModel):
    """What surrounds the execution of a job, by name in the project or given at submission."""

    #: The environment modules to load.
    modules: list[str] | None = None
    #: The environment variables to set.
    export: dict[str, Any] | None = Field(None, repr=False)
    #: Shell commands before and after the job.
    pre_run: str | None = None
    post_run: str | None = None
