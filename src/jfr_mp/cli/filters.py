"""Which jobs or flows a command is about: the filters as a table, and the one job that is named by its id.

A new filter is one row here; if it is a new condition, it is also a field of `JobFilter` or `FlowFilter`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from jfr_mp.cli.commands import OptionRow, Options, TableBuilder
from jfr_mp.cli.completion import complete_job, complete_worker
from jfr_mp.cli.options import MAX_NUMBER, whole_number
from jfr_mp.states import FlowState, JobState

if TYPE_CHECKING:
    from jfr_mp.database.filters import FlowFilter, JobFilter

_State = TypeVar("_State", bound=Enum)

_HOURS_A_DAY = 24
#: Of a number of 64 bits.
_MAX_DIGITS = 18
#: A century: the beginning of time, as far as jobs are concerned.
_MAX_DAYS = 36_500


@dataclass(frozen=True)
class FilterRow(OptionRow):
    """A filter.

    Parameters
    ----------
    condition
        The field of the filter value that it sets; by default its own name. Two filters that set the same field exclude
        each other.
    read
        Makes the value of the field.
    """

    condition: str = ""
    read: Callable[[Any], Any] = lambda value: value

    @property
    def target(self) -> str:
        """The field of the filter value."""
        return self.condition or self.name


def conditions(rows: Sequence[FilterRow], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a filter value from the values of its options.

    Raises
    ------
    typer.BadParameter
        Two options were given that exclude each other.
    """
    found: dict[str, Any] = {}
    for row in rows:
        value = given[row.name]
        if value is None or value is False or value == []:
            continue
        if row.target in found:
            rivals = [other.flags[0] for other in rows if other.target == row.target]
            raise typer.BadParameter(f"give only one of {', '.join(rivals[:-1])} and {rivals[-1]}")
        found[row.target] = row.read(value)
    return found


def _one_of(states: type[_State], text: str, short: Mapping[str, _State]) -> _State:
    """Return the state of a name, in upper or lower case."""
    name = text.strip().upper()
    if name in states.__members__:
        return states[name]
    if name in short:
        return short[name]
    raise typer.BadParameter(f"{text!r} is not one of {', '.join(state.name for state in states)}")


def job_state(text: str) -> JobState:
    """Read a job state by its name or its abbreviation, in upper or lower case."""
    return _one_of(JobState, text, {state.short_value: state for state in JobState})


def flow_state(text: str) -> FlowState:
    """Read a flow state by its name, in upper or lower case."""
    return _one_of(FlowState, text, {})


def job_id(text: str) -> tuple[str, int]:
    """Read ``UUID:INDEX``."""
    uuid, _, index = text.rpartition(":")
    if not uuid or not index.isdecimal() or int(index) > MAX_NUMBER:
        raise typer.BadParameter(f"{text!r} is not UUID:INDEX, such as e1d66c4f-81db-4fff-bda2-2bf1d79d5961:2")
    return uuid, int(index)


def mapping(text: str) -> dict[str, Any]:
    """Read a JSON object, or ``KEY=VALUE,...`` with JSON values; a value that is not JSON is text."""
    if text.lstrip().startswith("{"):
        try:
            read: dict[str, Any] = json.loads(text, parse_int=_whole)
        except ValueError as error:
            raise typer.BadParameter(f"{text!r} is not valid JSON: {error}") from None
        return read
    pairs = [pair.partition("=") for pair in text.split(",")]
    if not all(key and equals for key, equals, _ in pairs):
        raise typer.BadParameter(f"{text!r} is neither a JSON object nor KEY=VALUE,...")
    return {key.strip(): _json_or_text(value.strip()) for key, _, value in pairs}


def _whole(digits: str) -> int:
    """Read a number that MongoDB can store."""
    if len(digits) > _MAX_DIGITS:
        raise typer.BadParameter(f"the number {digits} is too large")
    return int(digits)


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text, parse_int=_whole)
    except ValueError:
        return text


def _ago(**age: int) -> datetime:
    return datetime.now(UTC) - timedelta(**age)


def _utc(moment: datetime) -> datetime:
    """Return a time in UTC; one without a time zone is local."""
    return moment.astimezone(UTC)


def _names(states: Iterable[Enum], incomplete: str) -> list[str]:
    return [state.name for state in states if state.name.startswith(incomplete.upper())]


def complete_job_state(incomplete: str) -> list[str]:
    """Return the job states that begin with a text."""
    return _names(JobState, incomplete)


def complete_flow_state(incomplete: str) -> list[str]:
    """Return the flow states that begin with a text."""
    return _names(FlowState, incomplete)


def _date(name: str, flags: tuple[str, ...], text: str, condition: str) -> FilterRow:
    settings = {"metavar": "DATE", "formats": ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]}
    return FilterRow(name, flags, text, datetime | None, None, settings, condition, _utc)


def _age(name: str, flags: tuple[str, ...], most: int) -> FilterRow:
    settings = {"metavar": "N", "parser": whole_number(0, most)}
    text = f"Last updated within the last N {name}."
    return FilterRow(name, flags, text, int | None, None, settings, "start_date", lambda n: _ago(**{name: n}))


_DB_IDS = FilterRow(
    "db_ids",
    ("--db-id", "-did"),
    "Only jobs with this db_id.",
    list[str] | None,
    settings={"metavar": "ID", "autocompletion": complete_job},
)
_FLOW_IDS = FilterRow(
    "flow_ids",
    ("--flow-id", "-fid"),
    "Only this flow: its uuid, or the db_id of one of its jobs.",
    list[str] | None,
    settings={"metavar": "ID", "autocompletion": complete_job},
)
_COMMON = (
    FilterRow(
        "name",
        ("--name", "-n"),
        "Only this name; put wildcards in quotes, such as 'relax*'.",
        str | None,
        settings={"metavar": "NAME"},
    ),
    FilterRow(
        "metadata",
        ("--metadata", "-meta"),
        "Only with this metadata: KEY=VALUE,... or a JSON object; keys may be dotted.",
        dict | None,
        settings={"metavar": "DATA", "parser": mapping},
    ),
    FilterRow("locked", ("--locked", "-l"), "Only what a process is working on.", bool, False),
    _date("start_date", ("--start-date", "-sdate"), "Last updated at this time or later.", "start_date"),
    _date("end_date", ("--end-date", "-edate"), "Last updated at this time or earlier.", "end_date"),
    _age("days", ("--days", "-ds"), _MAX_DAYS),
    _age("hours", ("--hours", "-hs"), _MAX_DAYS * _HOURS_A_DAY),
)

#: The filters of `jfr-mp job list` and of all commands that act on jobs.
JOB_FILTERS: tuple[FilterRow, ...] = (
    FilterRow(
        "job_ids",
        ("--job-id", "-jid"),
        "Only this job.",
        list[str] | None,
        settings={"metavar": "UUID:INDEX"},
        read=lambda texts: [job_id(text) for text in texts],
    ),
    _DB_IDS,
    _FLOW_IDS,
    FilterRow(
        "states",
        ("--state", "-s"),
        f"Only this state: {', '.join(f'{state.name} ({state.short_value})' for state in JobState)}.",
        list[JobState] | None,
        settings={"metavar": "STATE", "parser": job_state, "autocompletion": complete_job_state},
    ),
    FilterRow(
        "workers",
        ("--worker", "-wk"),
        "Only jobs of this worker.",
        list[str] | None,
        settings={"metavar": "NAME", "autocompletion": complete_worker},
    ),
    *_COMMON,
    FilterRow(
        "query",
        ("--query", "-q"),
        "Only what matches this query in MongoDB's language, as a JSON object or KEY=VALUE,...",
        dict | None,
        settings={"metavar": "QUERY", "parser": mapping},
        condition="custom_query",
    ),
)

#: The filters of `jfr-mp flow list`.
FLOW_FILTERS: tuple[FilterRow, ...] = (
    FilterRow(
        "job_ids", ("--job-id", "-jid"), "Only the flow of this job.", list[str] | None, settings={"metavar": "UUID"}
    ),
    _DB_IDS,
    _FLOW_IDS,
    FilterRow(
        "states",
        ("--state", "-s"),
        f"Only this state: {', '.join(state.name for state in FlowState)}.",
        list[FlowState] | None,
        settings={"metavar": "STATE", "parser": flow_state, "autocompletion": complete_flow_state},
    ),
    *_COMMON,
)


def job_filter(given: Mapping[str, Any]) -> JobFilter:
    """Return the filter for jobs that the options describe."""
    from jfr_mp.database.filters import JobFilter

    return JobFilter(**conditions(JOB_FILTERS, given))


def flow_filter(given: Mapping[str, Any]) -> FlowFilter:
    """Return the filter for flows that the options describe."""
    from jfr_mp.database.filters import FlowFilter

    return FlowFilter(**conditions(FLOW_FILTERS, given))


JobFilterOptions = Annotated["JobFilter", Options(TableBuilder(JOB_FILTERS, job_filter))]
FlowFilterOptions = Annotated["FlowFilter", Options(TableBuilder(FLOW_FILTERS, flow_filter))]
