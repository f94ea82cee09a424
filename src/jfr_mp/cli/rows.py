"""What the tables show: documents in, rows of text out. Nothing here prints."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from jfr_mp.states import FlowState, JobState

if TYPE_CHECKING:
    from jfr_mp.model import FlowInfo, JobInfo, Outage, Transfer


class Cell(NamedTuple):
    """One cell of a table: its text and, where it deserves one, a rich style such as ``bold red``."""

    text: str
    style: str = ""


@dataclass(frozen=True)
class Sheet:
    """A table ready to be printed."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


_GOOD, _BAD, _DOUBTFUL, _QUIET = "green", "bold red", "yellow", "dim"

_STATE_STYLES = {
    JobState.COMPLETED: _GOOD,
    JobState.FAILED: _BAD,
    JobState.REMOTE_ERROR: _BAD,
    JobState.WAITING: _QUIET,
    FlowState.COMPLETED: _GOOD,
    FlowState.FAILED: _BAD,
    FlowState.WAITING: _QUIET,
}

_PROCESS_STYLES = {"RUNNING": _GOOD, "FATAL": _BAD, "BACKOFF": _DOUBTFUL, "STOPPING": _DOUBTFUL, "STARTING": _DOUBTFUL}


def clock(moment: datetime | None) -> str:
    """Return a time as the clock on the wall shows it, to the minute; empty for None."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M") if moment else ""


def duration(seconds: float | None) -> str:
    """Return a duration as ``h:mm:ss``, with days in front where there are any; empty for None."""
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
    return Cell(info.state.name, _STATE_STYLES.get(info.state, ""))


def _run_time(info: JobInfo) -> Cell:
    if info.state is JobState.RUNNING and info.estimated_run_time is not None:
        return Cell(f"~{duration(info.estimated_run_time)}")
    return Cell(duration(info.run_time))


#: The columns of `jfr-mp job list`, each with the verbosity from which it is shown.
JOB_COLUMNS: tuple[tuple[str, int, Callable[[JobInfo], Cell]], ...] = (
    ("DB id", 0, lambda info: Cell(info.db_id)),
    ("Name", 0, lambda info: Cell(info.name)),
    ("State", 0, _state),
    ("Job id  (Index)", 0, lambda info: Cell(f"{info.uuid}  ({info.index})")),
    ("Worker", 0, lambda info: Cell(info.worker)),
    ("Last updated", 0, lambda info: Cell(clock(info.updated_on))),
    ("Queue id", 1, lambda info: Cell(info.remote.process_id or "")),
    ("Run time", 1, _run_time),
    ("Retry time", 1, lambda info: Cell(clock(info.remote.retry_time_limit))),
    ("Prev state", 1, lambda info: Cell(info.previous_state.name if info.previous_state else "")),
    ("Locked", 1, lambda info: Cell("*" if info.is_locked else "")),
    ("Lock id", 2, lambda info: Cell(info.lock_id or "")),
    ("Lock time", 2, lambda info: Cell(clock(info.lock_time))),
)


def job_sheet(jobs: Iterable[JobInfo], verbosity: int = 0) -> Sheet:
    """Return a table of jobs, one row each, with more columns the higher the verbosity."""
    columns = [(title, cell) for title, level, cell in JOB_COLUMNS if verbosity >= level]
    return Sheet(
        columns=tuple(title for title, _ in columns),
        rows=tuple(tuple(cell(info) for _, cell in columns) for info in jobs),
    )


#: The columns of `jfr-mp flow list`, as `JOB_COLUMNS`. A flow goes by the smallest db_id of its jobs.
FLOW_COLUMNS: tuple[tuple[str, int, Callable[[FlowInfo], Cell]], ...] = (
    ("DB id", 0, lambda info: Cell(min(info.db_ids, key=lambda db_id: (len(db_id), db_id), default=""))),
    ("Name", 0, lambda info: Cell(info.name)),
    ("State", 0, lambda info: Cell(info.state.name, _STATE_STYLES.get(info.state, ""))),
    ("Flow id", 0, lambda info: Cell(info.flow_id)),
    ("Num jobs", 0, lambda info: Cell(str(len(info.job_ids)))),
    ("Last updated", 0, lambda info: Cell(clock(info.updated_on))),
    ("Workers", 1, lambda info: Cell(", ".join(sorted(set(info.workers))))),
    ("Job states", 1, lambda info: Cell("-".join(state.short_value for state in info.job_states))),
)


def flow_sheet(flows: Iterable[FlowInfo], verbosity: int = 0) -> Sheet:
    """Return a table of flows, one row each, with more columns the higher the verbosity."""
    columns = [(title, cell) for title, level, cell in FLOW_COLUMNS if verbosity >= level]
    return Sheet(
        columns=tuple(title for title, _ in columns),
        rows=tuple(tuple(cell(info) for _, cell in columns) for info in flows),
    )


def role_sheet(roles: Sequence[Mapping[str, Any]]) -> Sheet:
    """Return a table of role processes from the ``roles`` of a master's status row."""
    return Sheet(
        columns=("Process", "PID", "State", "Uptime", "Restarts", "Memory", "Last error"),
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
    """Return what a user has to know about a host that is away."""
    since, next_try = (moment.astimezone().strftime("%H:%M:%S") for moment in (outage.since, outage.next_try))
    return f"the host of {outage.host} is away since {since}, next try at {next_try}; its jobs wait: {outage.why}"


def transfer_text(transfer: Transfer) -> str:
    """Return how far a transfer is, as one line."""
    way = "to" if transfer.direction == "upload" else "from"
    share = transfer.done_bytes / transfer.total_bytes if transfer.total_bytes else 1.0
    return (
        f"{transfer.direction} of job {transfer.db_id} {way} {transfer.worker}: {transfer.done_bytes / 1e6:.0f} of "
        f"{megabytes(transfer.total_bytes)} ({share:.0%}), since {transfer.since.astimezone():%H:%M:%S}"
    )


def counts_text(counts: Mapping[str, int]) -> str:
    """Return the numbers of jobs by state as one line, ``no jobs`` where there are none."""
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
