"""Options of our own, which a project file holds under ``metadata.jfr_mp``, where jobflow-remote leaves them alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from jfr_mp.config.validation import ConfigModel, invalid


def _absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError("must be an absolute path")
    return path


AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class EmbeddedDb(ConfigModel):
    """The MongoDB that jfr-mp starts and stops itself."""

    #: The directory with its data, its log and its credentials.
    dir: AbsolutePath
    #: The port on the loopback interface.
    port: int = Field(ge=1, le=65535)


class JfrMpOptions(ConfigModel):
    """What jfr-mp can be told beyond jobflow-remote's options. Times are in seconds."""

    #: The managed database; None when the project uses one that somebody else runs.
    embedded_db: EmbeddedDb | None = None
    #: Whether jobs of local workers and in batches are forked from a process that has imported jobflow already.
    warm: bool = True
    #: The longest time before a role looks for work that nobody told it about.
    probe_interval: Seconds = 1.0
    #: How often the queue role looks into the journal in which jobs report their start and end.
    journal_interval: Seconds = 0.05
    #: The same at most for the journal on a remote host, whose login node is not ours alone.
    remote_journal_interval: Seconds = 0.5
    #: How often a process tells the database that it lives.
    heartbeat_interval: Seconds = 2.0
    #: How long after its last heartbeat a process counts as dead and its locks as free.
    lease_ttl: Seconds = 30.0
    #: How long a role process may go on with the step in hand when it is told to stop.
    stop_timeout: Seconds = 60.0

    @model_validator(mode="after")
    def _outlive_a_heartbeat(self) -> Self:
        if self.lease_ttl <= self.heartbeat_interval:
            raise invalid({"lease_ttl": "must be longer than heartbeat_interval, or the living count as dead"})
        return self
