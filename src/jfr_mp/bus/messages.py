"""The messages of the bus: one pydantic model each, sent as versioned JSON."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from jfr_mp.config import LogLevel
from jfr_mp.errors import BusError
from jfr_mp.measurements import StateMeasurement, StepMeasurement
from jfr_mp.model import Condition, Outage, StepInHand, Transfer
from jfr_mp.states import JobState
from jfr_mp.step_table import Role

#: Raised by one with each change of a message that the other side would not understand.
VERSION: Literal[6] = 6
#: The arguments of a command, as they travel over a bus or through the database.
Arguments = dict[str, str | int | float | bool | None]


class BusMessage(BaseModel):
    """What all messages have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    version: Literal[6] = VERSION


class Register(BusMessage):
    """A role process to its master: it is connected. It is ready when its first `ConditionReport` says so."""

    kind: Literal["register"] = "register"
    name: str
    role: Role
    pid: int
    owner: str


class ConditionReport(BusMessage):
    """A role process to its master: its condition."""

    kind: Literal["condition_report"] = "condition_report"
    condition: Condition


class Measured(BusMessage):
    """A role process to its master: what it has measured since the last such message, after a `Measure`.

    Parameters
    ----------
    sent
        When it was sent, by the monotonic clock, which is the same for all processes of a machine.
    """

    kind: Literal["measured"] = "measured"
    sent: float
    steps: list[StepMeasurement] = Field(default_factory=list)
    states: list[StateMeasurement] = Field(default_factory=list)


class Goodbye(BusMessage):
    """A role process to its master: it is about to exit on purpose."""

    kind: Literal["goodbye"] = "goodbye"
    reason: str


class Drain(BusMessage):
    """A master to a role process: stop after the current step."""

    kind: Literal["drain"] = "drain"


class Measure(BusMessage):
    """A master to a role process: report measurements from now on."""

    kind: Literal["measure"] = "measure"


class SetLogLevel(BusMessage):
    """A master to a role process: log from this level on."""

    kind: Literal["set_log_level"] = "set_log_level"
    level: LogLevel


class StatusRequest(BusMessage):
    """A client to a master: report the status of all processes."""

    kind: Literal["status_request"] = "status_request"


class CommandRequest(BusMessage):
    """A client to a master: carry out a command; `jfr_mp.supervisor.commands` has them all.

    Parameters
    ----------
    id
        The same for all attempts to send it, by whichever way: a master carries it out once.
    master
        The owner id of the master that it is for; empty for the one that gets it.
    """

    kind: Literal["command"] = "command"
    id: str = ""
    master: str = ""
    name: str
    arguments: Arguments = Field(default_factory=dict)


class RoleStatus(BaseModel):
    """The status of one role process.

    Parameters
    ----------
    role, name
        Such as ``transfer`` and ``transfer-1``.
    pid
        None if there is no process.
    state
        A state of the life of a process, such as RUNNING or FATAL.
    uptime_s
        Seconds since this process was started; None if there is none.
    restarts
        How often it was restarted.
    rss_bytes
        Its resident memory, in bytes.
    last_error
        Why it died the last time, or the last error that it reported.
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
    """The status of a master and its role processes.

    Parameters
    ----------
    host, pid
        The process of the master.
    state
        RUNNING, STOPPING, or UNRESPONSIVE if it is alive but does not answer.
    roles
        Its role processes, running or not.
    outages
        The hosts that one of them found unreachable.
    transfers
        The files that they have been transferring for a while.
    steps
        The steps that they have been performing for a while.
    notices
        What the user should know of the master, such as that its project file has changed.
    local
        Whether the master of this machine answered; the status of the others is from the database.
    """

    host: str
    pid: int
    state: str
    roles: list[RoleStatus]
    outages: list[Outage] = Field(default_factory=list)
    transfers: list[Transfer] = Field(default_factory=list)
    steps: list[StepInHand] = Field(default_factory=list)
    notices: list[str] = Field(default_factory=list)
    local: bool = Field(default=False, exclude=True)

    def row(self) -> dict[str, Any]:
        """Return the row of ``jfr-mp status --json``, which lists hosts and files elsewhere."""
        return self.model_dump(mode="json", exclude={"outages", "transfers", "steps"})


class StatusReply(BusMessage):
    """A master to a client: the status of all processes."""

    kind: Literal["status_reply"] = "status_reply"
    master: MasterStatus


class CommandReply(BusMessage):
    """A master to a client: it does what it was told, or why not."""

    kind: Literal["command_reply"] = "command_reply"
    done: bool
    text: str = ""


class Rejection(BusMessage):
    """A master to the sender of a message: it does nothing, and why."""

    kind: Literal["rejection"] = "rejection"
    why: str


class Wake(BusMessage):
    """To every process that takes jobs out of a state: there is a new one."""

    kind: Literal["wake"] = "wake"
    state: JobState


class Announcement(BusMessage):
    """A master to one on another machine: jobs have entered these states.

    Parameters
    ----------
    master
        The owner id of the master that it is for.
    """

    kind: Literal["announcement"] = "announcement"
    master: str
    states: list[JobState]


FromRole = Register | ConditionReport | Measured | Goodbye
FromClient = StatusRequest | CommandRequest
FromMaster = Drain | Measure | SetLogLevel | StatusReply | CommandReply | Rejection | Announcement
Message = Annotated[FromRole | FromClient | FromMaster | Wake, Field(discriminator="kind")]

_ADAPTER: TypeAdapter[Message] = TypeAdapter(Message)


def encode(message: BusMessage) -> bytes:
    """Return a message as it is sent."""
    return message.model_dump_json().encode()


def decode(data: bytes) -> Message:
    """Read a message.

    Raises
    ------
    BusError
        If it is malformed, or comes from another version of jfr-mp.
    """
    try:
        return _ADAPTER.validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "message"
        raise BusError(
            f"a message on the bus was not understood ({where}: {first['msg']}): if jfr-mp was upgraded while it ran, "
            "restart it with `jfr-mp restart`"
        ) from error


def prepare() -> None:
    """Make the validator of messages, which otherwise the first message does."""
    _ADAPTER.rebuild()


def topic(state: JobState) -> bytes:
    """Return the prefix for subscriptions to the wake-ups of a state; none is the prefix of another."""
    return f"{state.value} ".encode()


#: The states by the prefixes of their wake-ups.
STATES = {topic(state): state for state in JobState}
