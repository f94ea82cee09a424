"""The commands that a master carries out, from a bus or from the database: one row each.

A row has a model of the arguments and a function that begins the work and returns one line about it, or what was asked
for, or raises `CommandRefused` with the reason. It must not wait: the master answers the sender with that text and goes
on. To add a command, add a row, and a method of `Commanded` if a master has to learn something new.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from jfr_mp.bus.messages import CommandReply
from jfr_mp.config import LogLevel
from jfr_mp.errors import ConfigError, JfrMpError
from jfr_mp.step_table import ROLES, Role
from jfr_mp.supervisor import log_order
from jfr_mp.supervisor.log_order import LogArguments

#: Commands that a master remembers; all that can still be on their way to it are among them.
_REMEMBERED = 1000


class CommandRefused(JfrMpError):
    """The master does not carry out the command; the message gives the reason."""


class Commanded(Protocol):
    """What a command may do with a master. No method waits."""

    @property
    def roles(self) -> Mapping[Role, int]:
        """How many processes of each role it keeps."""

    @property
    def log_dir(self) -> Path:
        """The directory of its logs."""

    def stop(self, *, drain: bool, why: str) -> None:
        """Stop the role processes, after the current steps if `drain`, and exit."""

    def restart(self, level: LogLevel | None) -> None:
        """Stop after the current steps, and begin again in a new program, as this one is now.

        Parameters
        ----------
        level
            From which level on to log then; None for the level of now.
        """

    def reload(self) -> None:
        """Replace the role processes one by one by processes with the project file as it is now.

        Raises
        ------
        ConfigError
            The file cannot be used.
        """

    def hold(self, roles: Collection[Role]) -> None:
        """Stop the processes of some roles after the current steps, and start none until `release`."""

    def release(self, roles: Collection[Role]) -> None:
        """Start the processes of these roles again."""

    def scale(self, role: Role, number: int) -> None:
        """Keep this number of processes of a role from now on."""

    def set_log_level(self, level: LogLevel) -> None:
        """Log from this level on, with all role processes."""


class NoArguments(BaseModel):
    """A command without arguments."""

    model_config = ConfigDict(extra="forbid")


class StopArguments(NoArguments):
    """How to stop."""

    drain: bool = True


class RestartArguments(NoArguments):
    """The level to log from after the restart."""

    level: LogLevel | None = None


class LogLevelArguments(NoArguments):
    """The level to log from."""

    level: LogLevel


class ScaleArguments(NoArguments):
    """How many processes of a role."""

    role: Role
    number: int = Field(ge=0, le=64)


@dataclass(frozen=True)
class CommandRule:
    """One command.

    Parameters
    ----------
    run
        Begins the work; returns one line about it, or raises `CommandRefused`.
    arguments
        The model of its arguments, which are validated before `run` is called.
    only_reads
        Whether it changes nothing: then it may be carried out twice, and its reply, which may be long, is not kept.
    """

    run: Callable[[Commanded, Any], str]
    arguments: type[BaseModel] = NoArguments
    only_reads: bool = False


def _stop(master: Commanded, arguments: StopArguments) -> str:
    master.stop(drain=arguments.drain, why="a command")
    return "stops after the current steps" if arguments.drain else "stops at once"


def _restart(master: Commanded, arguments: RestartArguments) -> str:
    master.restart(arguments.level)
    return "restarts after the current steps"


def _reload(master: Commanded, _arguments: NoArguments) -> str:
    try:
        master.reload()
    except ConfigError as error:
        raise CommandRefused(str(error)) from error
    return "replaces its role processes one by one"


def _drain(master: Commanded, _arguments: NoArguments) -> str:
    if Role.CHECKOUT not in master.roles:
        raise CommandRefused("this master does not run the role checkout, so it takes no new jobs anyway")
    master.hold((Role.CHECKOUT,))
    return "takes no new jobs; jobs that are under way go on"


def _pause(master: Commanded, _arguments: NoArguments) -> str:
    master.hold(tuple(master.roles))
    return "its role processes stop after the current steps"


def _resume(master: Commanded, _arguments: NoArguments) -> str:
    master.release(tuple(Role))
    return "all its roles run"


def _scale(master: Commanded, arguments: ScaleArguments) -> str:
    role, number = arguments.role, arguments.number
    if number > 1 and not ROLES[role].scalable:
        raise CommandRefused(f"one process of the role {role} is enough, and more are not possible")
    if not any(count for other, count in {**master.roles, role: number}.items()):
        raise CommandRefused("no role process would be left: use pause or stop")
    before = master.roles.get(role, 0)
    master.scale(role, number)
    return f"{role}: {before} -> {number} process{'' if number == 1 else 'es'}"


def _log_level(master: Commanded, arguments: LogLevelArguments) -> str:
    master.set_log_level(arguments.level)
    return f"logs at level {arguments.level}"


def _log(master: Commanded, arguments: LogArguments) -> str:
    return log_order.answer(master.log_dir, arguments)


COMMANDS: dict[str, CommandRule] = {
    "stop": CommandRule(_stop, StopArguments),
    "restart": CommandRule(_restart, RestartArguments),
    "reload": CommandRule(_reload),
    "drain": CommandRule(_drain),
    "pause": CommandRule(_pause),
    "resume": CommandRule(_resume),
    "scale": CommandRule(_scale, ScaleArguments),
    "log-level": CommandRule(_log_level, LogLevelArguments),
    "log": CommandRule(_log, LogArguments, only_reads=True),
}


class Commands:
    """The commands to one master. Each is carried out once, though it may come by two ways if its answer was lost.

    Parameters
    ----------
    master
        The master.
    """

    def __init__(self, master: Commanded) -> None:
        self._master = master
        self._replies: OrderedDict[str, CommandReply] = OrderedDict()

    def carry_out(self, id_: str, name: str, arguments: Mapping[str, Any]) -> CommandReply:
        """Carry out a command, unless one with this id was carried out before, and return the reply to its sender."""
        if id_ and id_ in self._replies:
            return self._replies[id_]
        reply = carry_out(self._master, name, arguments)
        if id_ and not (name in COMMANDS and COMMANDS[name].only_reads):
            self._replies[id_] = reply
            if len(self._replies) > _REMEMBERED:
                self._replies.popitem(last=False)
        return reply


def carry_out(master: Commanded, name: str, arguments: Mapping[str, Any]) -> CommandReply:
    """Carry out a command and return the reply to its sender; what is wrong with it is in the reply."""
    row = COMMANDS.get(name)
    if row is None:
        return CommandReply(done=False, text=f"this version of jfr-mp has no command {name[:32]!r}")
    try:
        return CommandReply(done=True, text=row.run(master, row.arguments.model_validate(arguments)))
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, wrong["loc"])) or "arguments"
        return CommandReply(done=False, text=f"{where}: {wrong['msg']}")
    except CommandRefused as refusal:
        return CommandReply(done=False, text=str(refusal))
