"""What the tables and lines of output show: documents in, text out. Nothing here prints."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from jfr_mp.states import FlowState, JobState

if TYPE_CHECKING:
    from jfr_mp.model import FlowInfo, JobInfo, Outage, StepInHand, Transfer

_Info = TypeVar("_Info")


class Cell(NamedTuple):
    """One cell of a table.

    Parameters
    ----------
    text
        What it says.
    style
        A style such as ``bold red``.
    short
        What it says if the table is too wide otherwise.
    """

    text: str
    style: str = ""
    short: str = ""


class Column(NamedTuple):
    """The head of a column.

    Parameters
    ----------
    title
        Its title.
    breaks
        Whether a long word may go on in the next line behind ``_``, ``-`` and ``/``, as in names and paths.
    """

    title: str
    breaks: bool = False


@dataclass(frozen=True)
class Sheet:
    """A table ready to be printed."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class ColumnRow(Generic[_Info]):
    """One column that a list can have.

    Parameters
    ----------
    title
        Its title.
    cell
        Makes its cells.
    verbosity
        The verbosity from which on it is shown.
    breaks
        As in `Column`.
    is_time
        Whether it shows times; its title then names the time zone.
    """

    title: str
    cell: Callable[[_Info], Cell]
    verbosity: int = 0
    breaks: bool = False
    is_time: bool = False

    @property
    def column(self) -> Column:
        """The head of the column."""
        return Column(f"{self.title} [{time_zone()}]" if self.is_time else self.title, self.breaks)


_GOOD, _BAD, _DOUBTFUL, _QUIET = "green", "bold red", "yellow", "dim"

STATE_STYLES = {
    JobState.COMPLETED: _GOOD,
    JobState.FAILED: _BAD,
    JobState.REMOTE_ERROR: _BAD,
    JobState.WAITING: _QUIET,
    FlowState.COMPLETED: _GOOD,
    FlowState.FAILED: _BAD,
    FlowState.WAITING: _QUIET,
}

_PROCESS_STYLES = {"RUNNING": _GOOD, "FATAL": _BAD, "BACKOFF": _DOUBTFUL, "STOPPING": _DOUBTFUL, "STARTING": _DOUBTFUL}


def time_zone() -> str:
    """Return the name of the time zone in which times are shown: the local one, as it is now."""
    return datetime.now().astimezone().tzname() or "local"


def clock(moment: datetime | None) -> str:
    """Return a time to the minute in the time zone of `time_zone`; empty for None."""
    return moment.astimezone(datetime.now().astimezone().tzinfo).strftime("%Y-%m-%d %H:%M") if moment else ""


def duration(seconds: float | None) -> str:
    """Return a duration as ``h:mm:ss``, after the days if there are any; empty for None."""
    if seconds is None:
        return ""
    days, rest = divmod(int(seconds), 86400)
    text = f"{rest // 3600}:{rest // 60 % 60:02}:{rest % 60:02}"
    return f"{days}d {text}" if days else text


def megabytes(size: int | None) -> str:
    """Return a size in bytes as whole MB (10^6 bytes); empty for None."""
    return f"{size / 1e6:.0f} MB" if size is not None else ""


def _state(info: JobInfo) -> Cell:
    if info.state not in (JobState.REMOTE_ERROR, JobState.FAILED) and info.remote.retry_time_limit is not None:
        return Cell(info.state.name, _DOUBTFUL)
    return Cell(info.state.name, STATE_STYLES.get(info.state, ""))


def _run_time(info: JobInfo) -> Cell:
    if info.state is JobState.RUNNING and info.estimated_run_time is not None:
        return Cell(f"~{duration(info.estimated_run_time)}")
    return Cell(duration(info.run_time))


def _first_block(uuid: str) -> str:
    return uuid.partition("-")[0]


def _job_id(info: JobInfo) -> Cell:
    return Cell(f"{info.uuid}  ({info.index})", short=f"{_first_block(info.uuid)} ({info.index})")


def _metadata(info: JobInfo) -> Cell:
    return Cell(json.dumps(info.metadata, ensure_ascii=False, default=str) if info.metadata else "")


#: The columns of `jfr-mp job list`. The names are jobflow-remote's, for the setting `cli_job_list_columns`.
JOB_COLUMNS: dict[str, ColumnRow[JobInfo]] = {
    "db_id": ColumnRow("DB id", lambda info: Cell(info.db_id)),
    "name": ColumnRow("Name", lambda info: Cell(info.name), breaks=True),
    "state": ColumnRow("State", _state),
    "job_id": ColumnRow("Job id (Index)", _job_id),
    "worker": ColumnRow("Worker", lambda info: Cell(info.worker), breaks=True),
    "last_updated": ColumnRow("Last updated", lambda info: Cell(clock(info.updated_on)), is_time=True),
    "queue_id": ColumnRow("Queue id", lambda info: Cell(info.remote.process_id or ""), 1),
    "run_time": ColumnRow("Run time", _run_time, 1),
    "retry_time": ColumnRow("Retry time", lambda info: Cell(clock(info.remote.retry_time_limit)), 1, is_time=True),
    "prev_state": ColumnRow(
        "Prev state", lambda info: Cell(info.previous_state.name if info.previous_state else ""), 1
    ),
    "locked": ColumnRow("Locked", lambda info: Cell("*" if info.is_locked else ""), 1),
    "lock_id": ColumnRow("Lock id", lambda info: Cell(info.lock_id or ""), 2, breaks=True),
    "lock_time": ColumnRow("Lock time", lambda info: Cell(clock(info.lock_time)), 2, is_time=True),
    "metadata": ColumnRow("Metadata", _metadata, 2, breaks=True),
}

#: The columns of `jfr-mp flow list`. A flow goes by the smallest db_id of its jobs.
FLOW_COLUMNS: dict[str, ColumnRow[FlowInfo]] = {
    "db_id": ColumnRow("DB id", lambda info: Cell(min(info.db_ids, key=lambda db_id: (len(db_id), db_id), default=""))),
    "name": ColumnRow("Name", lambda info: Cell(info.name), breaks=True),
    "state": ColumnRow("State", lambda info: Cell(info.state.name, STATE_STYLES.get(info.state, ""))),
    "flow_id": ColumnRow("Flow id", lambda info: Cell(info.flow_id, short=_first_block(info.flow_id))),
    "num_jobs": ColumnRow("Num jobs", lambda info: Cell(str(len(info.job_ids)))),
    "last_updated": ColumnRow("Last updated", lambda info: Cell(clock(info.updated_on)), is_time=True),
    "workers": ColumnRow("Workers", lambda info: Cell(", ".join(sorted(set(info.workers)))), 1, breaks=True),
    "job_states": ColumnRow(
        "Job states", lambda info: Cell("-".join(state.short_value for state in info.job_states)), 1, breaks=True
    ),
}


def job_sheet(
    jobs: Iterable[JobInfo],
    verbosity: int = 0,
    names: Sequence[str] | None = None,
    stored_data: Sequence[str] = (),
    *,
    color: bool = False,
) -> Sheet:
    """Return a table of jobs, one row each.

    Parameters
    ----------
    verbosity
        The higher, the more columns, if no names are given.
    names
        The columns, by their names in `JOB_COLUMNS`.
    stored_data
        Keys of the stored data of the jobs, each a further column.
    color
        Whether the names of the jobs of one flow have the same colour.
    """
    named = names if names else [name for name, row in JOB_COLUMNS.items() if verbosity >= row.verbosity]
    columns = [_NAME_BY_FLOW if color and name == "name" else JOB_COLUMNS[name] for name in named]
    return _sheet(jobs, [*columns, *map(_stored_data, stored_data)])


def _stored_data(key: str) -> ColumnRow[JobInfo]:
    def cell(info: JobInfo) -> Cell:
        value = (info.stored_data or {}).get(key)
        return Cell("" if value is None else str(value))

    return ColumnRow(key, cell, breaks=True)


def _flow_color(info: JobInfo) -> str:
    """Return the colour of the flow of a job, the same each time."""
    return _FLOW_COLORS[sum(map(ord, (info.hosts or [info.uuid])[-1])) % len(_FLOW_COLORS)]


_FLOW_COLORS = ("cyan", "magenta", "green", "yellow", "blue", "red")
_NAME_BY_FLOW: ColumnRow[JobInfo] = ColumnRow("Name", lambda info: Cell(info.name, _flow_color(info)), breaks=True)


def flow_report(flow: FlowInfo) -> list[tuple[str, str]]:
    """Return a summary of a flow: its jobs by state, when it ran, and how long."""
    jobs = flow.jobs_info or []
    times = [job.run_time for job in jobs if job.run_time is not None]
    begun = min((job.start_time for job in jobs if job.start_time), default=None)
    ended = max((job.end_time for job in jobs if job.end_time), default=None)
    longest = max(jobs, key=lambda job: job.run_time or 0.0, default=None)
    zone = f" [{time_zone()}]"
    lines = [
        ("jobs", counts_text(Counter(job.state.name for job in jobs))),
        ("workers", ", ".join(sorted(set(flow.workers)))),
        (f"begun{zone}", clock(begun)),
        (f"last end{zone}", clock(ended)),
        ("elapsed", duration((ended - begun).total_seconds()) if begun and ended else ""),
        ("run time of jobs", duration(sum(times)) if times else ""),
        ("longest", f"{duration(longest.run_time)}, job {longest.db_id} ({longest.name})" if times and longest else ""),
    ]
    return [(name, text) for name, text in lines if text]


def flow_sheet(flows: Iterable[FlowInfo], verbosity: int = 0) -> Sheet:
    """Return a table of flows, one row each, with more columns the higher the verbosity."""
    return _sheet(flows, [row for row in FLOW_COLUMNS.values() if verbosity >= row.verbosity])


def _sheet(infos: Iterable[_Info], columns: Sequence[ColumnRow[_Info]]) -> Sheet:
    rows = tuple(tuple(column.cell(info) for column in columns) for info in infos)
    return Sheet(tuple(column.column for column in columns), rows)


def role_sheet(roles: Sequence[Mapping[str, Any]]) -> Sheet:
    """Return a table of role processes from the ``roles`` of a master's status row."""
    titles = ("Process", "PID", "State", "Uptime", "Restarts", "Memory")
    return Sheet(
        columns=(*map(Column, titles), Column("Last error", breaks=True)),
        rows=tuple(
            (
                Cell(role["name"]),
                Cell("" if role["pid"] is None else str(role["pid"])),
                Cell(role["state"], _PROCESS_STYLES.get(role["state"], "")),
                Cell(duration(role["uptime_s"])),
                Cell(str(role["restarts"]), _DOUBTFUL if role["restarts"] else ""),
                Cell(megabytes(role["rss_bytes"])),
                Cell(role["last_error"] or ""),
            )
            for role in roles
        ),
    )


def outage_text(outage: Outage) -> str:
    """Return what a user has to know about a host that is unreachable."""
    since, next_try = (moment.astimezone().strftime("%H:%M:%S") for moment in (outage.since, outage.next_try))
    return (
        f"the host of {outage.host} has been unreachable since {since}, next attempt at {next_try}; its jobs wait: "
        f"{outage.why}"
    )


def transfer_text(transfer: Transfer) -> str:
    """Return the progress of a transfer as one line."""
    way = "to" if transfer.direction == "upload" else "from"
    share = transfer.done_bytes / transfer.total_bytes if transfer.total_bytes else 1.0
    return (
        f"{transfer.direction} of job {transfer.db_id} {way} {transfer.worker}: {transfer.done_bytes / 1e6:.0f} of "
        f"{megabytes(transfer.total_bytes)} ({share:.0%}), since {transfer.since.astimezone():%H:%M:%S}"
    )


def step_text(step: StepInHand) -> str:
    """Return a step that takes long as one line."""
    what = f"of job {step.db_id}" if step.db_id else "(all jobs)"
    return (
        f"step {step.step} {what} since {step.since.astimezone():%Y-%m-%d %H:%M:%S}; its process is replaced after "
        f"{step.limit:g} s"
    )


def counts_text(counts: Mapping[str, int]) -> str:
    """Return the numbers of jobs by state as one line; ``no jobs`` if there are none."""
    return ", ".join(f"{number} {state}" for state, number in counts.items()) or "no jobs"


def details(fields: Mapping[str, Any], *, show_none: bool = False) -> list[tuple[str, str]]:
    """Return a nested document as (dotted field, text) in its own order, without empty fields unless asked for."""
    lines: list[tuple[str, str]] = []
    for name, value in fields.items():
        if isinstance(value, Mapping) and value:
            lines += [(f"{name}.{inner}", text) for inner, text in details(value, show_none=show_none)]
        elif show_none or value not in (None, "", [], {}):
            lines.append((name, _plain(value)))
    return lines


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return value.astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")
    if isinstance(value, JobState | FlowState):
        return value.name
    if isinstance(value, list | tuple):
        return ", ".join(_plain(item) for item in value)
    return str(value)
