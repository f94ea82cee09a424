"""Options that several commands share, with jobflow-remote's names and short flags where it has them too."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from enum import Enum, StrEnum
from typing import Annotated, TypeVar

import typer

from jfr_mp.states import FlowState, JobState
from jfr_mp.step_table import Role

_State = TypeVar("_State", bound=Enum)


class LogLevelName(StrEnum):
    """The log levels of a project file; the configuration's own enumeration costs its import at every ``--help``."""

    ERROR = "error"
    WARN = "warn"
    INFO = "info"
    DEBUG = "debug"


class SortField(StrEnum):
    """What a list can be sorted by."""

    CREATED_ON = "created_on"
    UPDATED_ON = "updated_on"
    DB_ID = "db_id"


def _inherited(context: typer.Context, value: str | None) -> str | None:
    """Fall back on the project chosen in front of the command, as in ``jfr-mp -p NAME job list``."""
    return value or context.obj


def _one_of(states: type[_State], text: str, short: dict[str, _State]) -> _State:
    """Return the state of that name, in any case."""
    name = text.strip().upper()
    if name in states.__members__:
        return states[name]
    if name in short:
        return short[name]
    raise typer.BadParameter(f"{text!r} is not one of {', '.join(state.name for state in states)}")


def job_state(text: str) -> JobState:
    """Read a job state by its name or its abbreviation, in any case."""
    return _one_of(JobState, text, {state.short_value: state for state in JobState})


def flow_state(text: str) -> FlowState:
    """Read a flow state by its name, in any case."""
    return _one_of(FlowState, text, {})


def job_id(text: str) -> tuple[str, int]:
    """Read ``UUID:INDEX``."""
    uuid, _, index = text.rpartition(":")
    if not uuid or not index.isdecimal():
        raise typer.BadParameter(f"{text!r} is not UUID:INDEX, such as e1d66c4f-81db-4fff-bda2-2bf1d79d5961:2")
    return uuid, int(index)


def _complete_states(states: Iterable[Enum], incomplete: str) -> list[str]:
    return [state.name for state in states if state.name.startswith(incomplete.upper())]


def _complete_job_state(incomplete: str) -> list[str]:
    return _complete_states(JobState, incomplete)


def _complete_flow_state(incomplete: str) -> list[str]:
    return _complete_states(FlowState, incomplete)


def wanted_roles(
    chosen: Iterable[Role], num_transfer: int | None = None, num_complete: int | None = None
) -> dict[Role, int]:
    """Return how many processes each role gets.

    Parameters
    ----------
    chosen
        The roles that the user named; none means all.
    num_transfer, num_complete
        Numbers of processes; None means one.

    Returns
    -------
    dict
        The chosen roles in the order in which a job meets them.

    Raises
    ------
    typer.BadParameter
        A number was given for a role that was not chosen.
    """
    chosen = set(chosen) or set(Role)
    numbers = {Role.TRANSFER: num_transfer, Role.COMPLETE: num_complete}
    for role, number in numbers.items():
        if number is not None and role not in chosen:
            raise typer.BadParameter(f"--num-{role} needs --{role}, because other roles were chosen")
    return {role: numbers.get(role) or 1 for role in Role if role in chosen}


def since(start: datetime | None, days: int | None, hours: int | None) -> datetime | None:
    """Return the one beginning that the user gave, in UTC; a date without a time zone is local time.

    Raises
    ------
    typer.BadParameter
        More than one was given.
    """
    if sum(value is not None for value in (start, days, hours)) > 1:
        raise typer.BadParameter("give only one of --start-date, --days and --hours")
    if days is not None or hours is not None:
        return datetime.now(UTC) - timedelta(days=days or 0, hours=hours or 0)
    return start.astimezone(UTC) if start else None


ProjectOption = Annotated[
    str | None,
    typer.Option(
        "--project",
        "-p",
        metavar="NAME",
        callback=_inherited,
        help="The project to use. Needed only where there are several; JFREMOTE_PROJECT does the same.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
VerbosityOption = Annotated[int, typer.Option("--verbosity", "-v", count=True, help="Show more; -vv even more.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing, take the defaults.")]

LogLevelOption = Annotated[
    LogLevelName | None,
    typer.Option("--log-level", "-log", help="How much goes into the logs; the project's log_level by default."),
]
CheckoutOption = Annotated[bool, typer.Option("--checkout", "-cho", help="Run the role that reserves jobs.")]
TransferOption = Annotated[bool, typer.Option("--transfer", "-t", help="Run the role that moves files.")]
QueueOption = Annotated[bool, typer.Option("--queue", "-q", help="Run the role that talks to the schedulers.")]
CompleteOption = Annotated[bool, typer.Option("--complete", "-com", help="Run the role that stores the outputs.")]

DbIdsOption = Annotated[
    list[str] | None, typer.Option("--db-id", "-did", metavar="ID", help="Only the jobs of these db_ids.")
]
FlowIdsOption = Annotated[
    list[str] | None, typer.Option("--flow-id", "-fid", metavar="ID", help="Only these flows: uuid, or db_id of a job.")
]
JobStatesOption = Annotated[
    list[JobState] | None,
    typer.Option(
        "--state",
        "-s",
        metavar="STATE",
        parser=job_state,
        autocompletion=_complete_job_state,
        help="Only these states, by name or abbreviation: "
        + ", ".join(f"{state.name} ({state.short_value})" for state in JobState)
        + ".",
    ),
]
FlowStatesOption = Annotated[
    list[FlowState] | None,
    typer.Option(
        "--state",
        "-s",
        metavar="STATE",
        parser=flow_state,
        autocompletion=_complete_flow_state,
        help="Only these states: " + ", ".join(state.name for state in FlowState) + ".",
    ),
]
NameOption = Annotated[
    str | None,
    typer.Option("--name", "-n", metavar="NAME", help="Only this name; wildcards in quotes, such as 'relax*'."),
]
WorkersOption = Annotated[
    list[str] | None, typer.Option("--worker", "-wk", metavar="NAME", help="Only the jobs of these workers.")
]
LockedOption = Annotated[bool, typer.Option("--locked", "-l", help="Only what some process works on now.")]
StartDateOption = Annotated[
    datetime | None,
    typer.Option(
        "--start-date",
        "-sdate",
        metavar="DATE",
        formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"],
        help="Last updated at this time or later, such as 2025-01-31 or 2025-01-31T08:30:00.",
    ),
]
DaysOption = Annotated[
    int | None, typer.Option("--days", "-ds", min=0, metavar="N", help="Last updated in the last days.")
]
HoursOption = Annotated[
    int | None, typer.Option("--hours", "-hs", min=0, metavar="N", help="Last updated in the last hours.")
]
MaxResultsOption = Annotated[
    int, typer.Option("--max-results", "-m", min=0, metavar="N", help="The longest list to show; 0 for no limit.")
]
SortOption = Annotated[SortField, typer.Option("--sort", help="Sort by this, the newest first.")]
ReverseOption = Annotated[bool, typer.Option("--reverse-sort", "-revs", help="Sort the oldest first.")]
