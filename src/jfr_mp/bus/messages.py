"""What is said on the bus: one pydantic model a message, as versioned JSON."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from jfr_mp.config import LogLevel
from jfr_mp.errors import BusError
from jfr_mp.model import Condition, Outage, Transfer
from jfr_mp.states import JobState

#: Raised by one whenever a message changes in a way that the other side would not understand.
from jfr_mp.step_table import Role

#: Raised by one whenever a message changes in a way that the other side would not understand.
VERSION: Literal[1] = 1


class BusMessage(BaseModel):
    """What all messages have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = VERSION


class Register(BusMessage):
    """A role process to its master: I am connected. It is ready when its first `Heartbeat` comes."""

    kind: Literal["register"] = "register"
    name: str
    role: Role
    pid: int
    owner: str


class Heartbeat(BusMessage):
    """A role process to its master: this is how I am."""

    kind: Literal["heartbeat"] = "heartbeat"
    condition: Condition


class Goodbye(BusMessage):
    """A role process to its master: I am about to end on purpose."""

    kind: Literal["goodbye"] = "goodbye"
    reason: str


class StopOrder(BusMessage):
    """A master to a role process: end after the step in hand."""

    kind: Literal["stop_order"] = "stop_order"


class SetLogLevel(BusMessage):
    """A master to a role process: log from this level on."""

    kind: Literal["set_log_level"] = "set_log_level"
    level: LogLevel


class StatusRequest(BusMessage):
    """A client to a master: say how you all are."""

    kind: Literal["status_request"] = "status_request"


class StopRequest(BusMessage):
    """A client to a master: stop, after the steps in hand if `drain`, else at once."""

    kind: Literal["stop_request"] = "stop_request"
    drain: bool = True


class LogLevelRequest(BusMessage):
    """A client to a master: you and your processes log from this level on."""

    kind: Literal["log_level_request"] = "log_level_request"
    level: LogLevel


class RoleStatus(BaseModel):
    """How one role process is.

    Parameters
    ----------
    role, name
        Such as ``transfer`` and ``transfer-1``.
    pid
        None while there is no process.
    state
        A state of the life of a process, such as RUNNING or FATAL.
    uptime_s
        Seconds since this process was started; None while there is no process.
    restarts
        How often it was started again.
    rss_bytes
        Its resident memory, in bytes.
    last_error
        Why it died the last time, or what it last complained of.
    """

    role: Role
    name: str
    pid: int | None = None
    state: str
    uptime_s: float | None = None
    restarts: int = 0
    rss_bytes: int | None = None
    last_error: str | None = None


class MasterStatus(BaseModel):
    """How a master and its role processes are.

    Parameters
    ----------
    host, pid
        Where it runs.
    state
        RUNNING, STOPPING, or UNRESPONSIVE where it lives but does not answer.
    roles
        Its role processes, running or not.
    outages
        The hosts that one of them found away.
    transfers
        The files that have been on their way for a while.
    local
        Whether it was asked on this machine; the others were found in the database.
    """

    host: str
    pid: int
    state: str
    roles: list[RoleStatus]
    outages: list[Outage] = Field(default_factory=list)
    transfers: list[Transfer] = Field(default_factory=list)
    local: bool = Field(default=False, exclude=True)

    def row(self) -> dict[str, Any]:
        """Return it as ``jfr-mp status --json`` shows it; what concerns hosts stands beside the rows there."""
        return self.model_dump(mode="json", exclude={"outages", "transfers"})


class StatusReply(BusMessage):
    """A master to a client: this is how we are."""

    kind: Literal["status_reply"] = "status_reply"
    master: MasterStatus


class Ack(BusMessage):
    """A master to a client: I do as you ask."""

    kind: Literal["ack"] = "ack"


class Refusal(BusMessage):
    """A master to a client: I do not, and this is why."""

    kind: Literal["refusal"] = "refusal"
    why: str


class Wake(BusMessage):
    """To every process that takes jobs out of `state`: there is one."""

    kind: Literal["wake"] = "wake"
    state: JobState
    worker: str
    db_id: str


FromRole = Register | Heartbeat | Goodbye
FromClient = StatusRequest | StopRequest | LogLevelRequest
Message = Annotated[
    FromRole | FromClient | StopOrder | SetLogLevel | StatusReply | Ack | Refusal | Wake, Field(discriminator="kind")
]

_ADAPTER: TypeAdapter[Message] = TypeAdapter(Message)


def encode(message: BusMessage) -> bytes:
    """Return a message as it travels."""
    return message.model_dump_json().encode()


def decode(data: bytes) -> Message:
    """Read a message.

    Raises
    ------
    BusError
        If it is none, or one of another version of jfr-mp.
    """
    try:
        return _ADAPTER.validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "message"
        raise BusError(
            f"a message on the bus is not understood ({where}: {first['msg']}): if jfr-mp was upgraded while it ran, "
            "restart it with `jfr-mp restart`"
        ) from error


def topic(state: JobState) -> bytes:
    """Return the prefix by which the wake-ups of a state are subscribed to; no state's is that of another one."""
    return f"{state.value} ".encode()
