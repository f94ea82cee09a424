"""The options specific to jfr-mp, under ``metadata.jfr_mp`` of a project file, where jobflow-remote ignores them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from jfr_mp.config.notifications import NotifyOptions
from jfr_mp.config.otel import OtelOptions
from jfr_mp.config.validation import ConfigModel, invalid
from jfr_mp.step_table import STEPS


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError("must be an absolute path")
    return path


_LAST_PORT = 65535
AbsolutePath = Annotated[Path, AfterValidator(_absolute)]


def _step_name(name: str) -> str:
    names = [step.name for step in STEPS]
    if name not in names:
        raise ValueError(f"is not a step; the steps are {', '.join(names)}")
    return name


StepName = Annotated[str, AfterValidator(_step_name)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def host_and_port(text: str) -> str:
    """Check an address such as ``127.0.0.1:9464`` or ``[::1]:9464``, and return it.

    Raises
    ------
    ValueError
        It is none.
    """
    host, _, port = text.rpartition(":")
    if not host or (":" in host and not host.startswith("[")) or not port.isdecimal() or int(port) > _LAST_PORT:
        raise ValueError("must be an address with a port, such as 127.0.0.1:9464")
    return text


HostAndPort = Annotated[str, AfterValidator(host_and_port)]


def _tcp_address(address: str) -> str:
    if not re.fullmatch(r"tcp://[^:/]+:\d{1,5}|tcp://\[[0-9a-fA-F:]+\]:\d{1,5}", address):
        raise ValueError("must have the form tcp://ADDRESS:PORT, such as tcp://0.0.0.0:5671")
    return address


BusAddress = Annotated[str, AfterValidator(_tcp_address)]


class EmbeddedDb(ConfigModel):
    """The MongoDB server that jfr-mp manages."""

    #: The directory for its data, its log and its credentials.
    dir: AbsolutePath
    #: The port on the loopback interface.
    port: int = Field(ge=1, le=65535)


class JfrMpOptions(ConfigModel):
    """The options specific to jfr-mp. Times are in seconds."""

    #: The managed database; None if the project uses a database that is not managed by jfr-mp.
    embedded_db: EmbeddedDb | None = None
    #: Whether jobs of local workers and in batches are forked from a process that has imported jobflow already.
    warm: bool = True
    #: The maximum number of jobs at once on a local worker with the scheduler shell and no `max_jobs`: "cores" for the
    #: number of cores that the runner can use, null for no limit.
    local_jobs: Annotated[int, Field(ge=1)] | Literal["cores"] | None = "cores"
    #: Environment variables of the runner that jobs and commands on this machine get although their names look like
    #: those of secrets: names, or patterns such as "AWS_*".
    pass_environment: list[str] = Field(default_factory=list)
    #: Environment variables that they do not get, besides those whose names look like secrets; "*" leaves only the
    #: essential ones, such as PATH and HOME, and those in `pass_environment`.
    withhold_environment: list[str] = Field(default_factory=list)
    #: Whether the processes that a job leaves behind on a worker with the scheduler shell are stopped after it.
    reap: bool = True
    #: The permissions that run directories do not have, as in the shell: "077" gives access to the user only, "027"
    #: lets the group read.
    umask: Annotated[str, Field(pattern="^0?[0-7]{3}$")] = "077"
    #: The longest time before a role looks for work that it was not told about.
    probe_interval: Seconds = 1.0
    #: The same for a role that has not found any for a while, if the MongoDB server announces changes: the time between
    #: two looks is doubled up to this. What the server announces is not delayed.
    idle_probe_interval: Seconds = 30.0
    #: The time between two reads of the journal in which local jobs report their start and end.
    journal_interval: Seconds = 0.05
    #: The minimum time between two reads of a journal on a remote host, to limit the load on its login node.
    remote_journal_interval: Seconds = 0.5
    #: The time between two heartbeats of a process in the database.
    heartbeat_interval: Seconds = 7.5
    #: The time after its last heartbeat at which a process counts as dead, so that its locks are freed.
    lease_ttl: Seconds = 30.0
    #: The time after which a step counts as hung, by its name, such as {"upload": 7200}: its process is replaced, and
    #: the job is tried once more. The defaults are 6 hours for upload and download, 10 minutes for checkout and 1 hour
    #: for the others.
    step_limits: dict[StepName, Seconds] = Field(default_factory=dict)
    #: The address at which a master serves metrics for Prometheus, such as 127.0.0.1:9464; null for no metrics.
    metrics: HostAndPort | None = None
    #: Where traces of jobs go; null for the collector in the variables OTEL_* of the environment, if there is one.
    otel: OtelOptions | None = None
    #: Who is notified of what: see the how-to guide about notifications.
    notify: NotifyOptions = Field(default_factory=NotifyOptions)
    #: The time that a role process has to finish its current step when it is asked to stop.
    stop_timeout: Seconds = 60.0

    @property
    def directory_mode(self) -> int:
        """The mode of run directories."""
        return 0o777 & ~int(self.umask, 8)

    #: The address at which the master listens for commands from other machines, such as tcp://0.0.0.0:5671; None for
    #: no bus between machines. Only holders of keys of the project are admitted: see `jfr-mp bus keys`.
    bus: BusAddress | None = None

    @model_validator(mode="after")
    def _outlive_a_heartbeat(self) -> Self:
        if self.lease_ttl <= self.heartbeat_interval:
            raise invalid(
                {"lease_ttl": "must be longer than heartbeat_interval; otherwise running processes count as dead"}
            )
        return self
