"""Jobs, flows and reports as HTML, as notebooks show them. All text is escaped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING

from jfr_mp.logs import clean
from jfr_mp.states import RUNNING_STATES, FlowState, JobState

if TYPE_CHECKING:
    from jfr_mp.api.activity import ActivityReport
    from jfr_mp.api.report import FlowTrends
    from jfr_mp.diagnosis.reasons import Reason
    from jfr_mp.model import FlowInfo, JobInfo

#: How many jobs of a flow are listed.
_LISTED = 30
#: Colours that can be read on white and on black.
_GREEN, _BLUE, _RED, _YELLOW, _GREY = "#2e9e5b", "#2f7fd6", "#d64545", "#b07d10", "#7d8794"
#: The colour of a state; those without one are grey.
STATE_COLOURS = {
    JobState.COMPLETED: _GREEN,
    JobState.FAILED: _RED,
    JobState.REMOTE_ERROR: _RED,
    **dict.fromkeys(RUNNING_STATES, _BLUE),
    **dict.fromkeys((JobState.PAUSED, JobState.STOPPED, JobState.USER_STOPPED), _YELLOW),
}
#: The states whose jobs come first in the list of a flow.
_FIRST = (JobState.FAILED, JobState.REMOTE_ERROR)


def job_html(job: JobInfo) -> str:
    """Return one job as a table of its fields, with what its document tells about its state and its past."""
    rows = [
        ("State", _state(job.state)),
        ("Worker", _text(job.worker)),
        ("uuid", f"<code>{_text(job.uuid)}</code> index {job.index}"),
        ("Run time", "" if job.run_time is None else f"{job.run_time:.1f} s"),
        ("Directory", f"<code>{_text(job.run_dir)}</code>" if job.run_dir else ""),
        ("Why", _reasons(_known_reasons(job))),
        ("Times [UTC]", _timeline(job)),
        ("Error", _folded(_error(job))),
    ]
    heading = f"<b>Job {_text(job.db_id)}</b> {_text(job.name)}"
    return heading + _table([(f"<b>{name}</b>", value) for name, value in rows if value])


def explanation_html(job: JobInfo, reasons: Sequence[Reason]) -> str:
    """Return why a job is in its state, and what would move it."""
    return f"<b>Job {_text(job.db_id)}</b> {_text(job.name)} is {_state(job.state)}{_reasons(reasons)}"


def flow_html(flow: FlowInfo) -> str:
    """Return a flow with the numbers of its jobs by state and, if these were read, its first jobs, failed ones before.

    The times are those of the flow and, if its jobs were read, those of the first start and the last end of a job.
    """
    counts = Counter(flow.job_states)
    numbers = ", ".join(f"{number} {_state(state)}" for state, number in counts.items())
    heading = f"<b>Flow</b> {_text(flow.name)} {_state(flow.state)}, {len(flow.db_ids)} jobs"
    jobs = sorted(flow.jobs_info or [], key=lambda job: job.state not in _FIRST)
    moments = [
        ("created", flow.created_on),
        ("started", min((job.start_time for job in jobs if job.start_time), default=None)),
        ("last end of a job", max((job.end_time for job in jobs if job.end_time), default=None)),
        ("last change", flow.updated_on),
    ]
    rows = [
        (_text(job.db_id), _state(job.state), _text(job.name), _text(job.worker), _text(last_line(job)))
        for job in jobs[:_LISTED]
    ]
    more = f"and {len(jobs) - _LISTED} more" if len(jobs) > _LISTED else ""
    times = f"<div>{_moments(moments)} UTC</div>"
    return f"{heading}{': ' if numbers else ''}{numbers}{times}" + (_table(rows) if rows else "") + more


def jobs_table(jobs: Sequence[JobInfo]) -> str:
    """Return jobs as a table; empty if there are none."""
    titles = _titles("DB id", "Name", "Worker", "Started [UTC]")
    rows = [(_text(job.db_id), _text(job.name), _text(job.worker), _clock(job.start_time)) for job in jobs]
    return _table([titles, *rows]) if rows else ""


def report_html(title: str, counts: Mapping[str, int], trends: FlowTrends | None, others: Mapping[str, str]) -> str:
    """Return a report of jobs or flows: the numbers by state, those of each interval, and other tables by title."""
    tables = {title: counts_table(counts)}
    if trends is not None:
        rows = zip(trends.dates, *trends.by_state.values(), strict=True)
        titles = _titles(trends.interval.capitalize().removesuffix("s"), *trends.by_state)
        tables[trends.title] = _table([titles, *([_text(value) for value in row] for row in rows)])
    return "".join(f"<b>{_text(name)}</b>{table}" for name, table in {**tables, **others}.items() if table)


def counts_table(counts: Mapping[str, int]) -> str:
    """Return numbers by name as a table with bars; empty if there are none."""
    most = max(counts.values(), default=0)
    bar = '<meter max="{0}" value="{1}">{1}</meter>'
    return _table([(_text(name), str(n), bar.format(most, n)) for name, n in counts.items()]) if counts else ""


def activity_html(report: ActivityReport) -> str:
    """Return what jobs have done as a table of workers and one of causes of failures."""
    heading = f"<b>Jobs</b> from {report.since:%Y-%m-%d %H:%M} to {report.until:%Y-%m-%d %H:%M} UTC"
    titles = _titles("Worker", "Completed", "Failed", "Core hours")
    workers = [
        (_text(name), str(worker.completed), str(worker.failed), f"{worker.core_hours:.2f}")
        for name, worker in report.workers.items()
    ]
    causes = [(str(cause.number), _text(cause.first_line)) for cause in report.failures[:_LISTED]]
    return heading + _table([titles, *workers]) + (f"<b>Failures</b>{_table(causes)}" if causes else "")


def progress_html(
    headline: str, ended: int, total: int, counts: Mapping[JobState, int], failures: Iterable[tuple[str, str]]
) -> str:
    """Return the progress of a wait: a bar, the numbers of jobs by state, and the failed jobs with their errors."""
    bar = f'<progress max="{max(total, 1)}" value="{ended}"></progress> {_text(headline)}'
    numbers = ", ".join(f"{number} {_state(state)}" for state, number in counts.items())
    named = (f'<div><span style="color:{_RED}">{_text(what)}</span> {_text(error)}</div>' for what, error in failures)
    return f"<div>{bar}</div><div>{numbers}</div>{''.join(named)}"


def last_line(job: JobInfo) -> str:
    """Return the last line of the error of a job; empty if it has none."""
    return (_error(job).strip().splitlines() or [""])[-1]


def _known_reasons(job: JobInfo) -> Sequence[Reason]:
    """Return why a job is in its state, if its document tells: a state that only a user changes."""
    from jfr_mp.diagnosis.facts import Facts
    from jfr_mp.diagnosis.reasons import AT_REST, reasons_of

    return reasons_of(Facts(job, job.updated_on)) if job.state in AT_REST else ()


def _reasons(reasons: Iterable[Reason]) -> str:
    rows = (f"<li>{_text(each.why)}<br><i>{_text(each.cure)}</i></li>" for each in reasons)
    listed = "".join(rows)
    return f'<ul style="margin:0">{listed}</ul>' if listed else ""


def _timeline(job: JobInfo) -> str:
    before = f" from {job.previous_state.name}" if job.previous_state else ""
    retry = f"next attempt of the step, after {job.remote.step_attempts}"
    return _moments(
        [
            ("created", job.created_on),
            ("started", job.start_time),
            ("ended", job.end_time),
            (f"{job.state.name}{before}", job.updated_on),
            (retry, job.remote.retry_time_limit),
        ]
    )


def _moments(moments: Iterable[tuple[str, datetime | None]]) -> str:
    """Return moments in the order of time; None stands for a moment that has not come."""
    known = sorted((_clock(time), name) for name, time in moments if time is not None)
    return ", ".join(f"{time} {_text(name)}" for time, name in known)


def _clock(time: datetime | None) -> str:
    """Return a time in UTC, which those without a time zone are in."""
    if time is None:
        return ""
    return f"{time.astimezone(UTC) if time.tzinfo else time:%Y-%m-%d %H:%M:%S}"


def _folded(error: str) -> str:
    """Return the last line of an error, behind which the whole of it can be unfolded."""
    lines = error.strip().splitlines()
    if len(lines) <= 1:
        return f'<span style="color:{_RED}">{_text(error.strip())}</span>' if lines else ""
    whole = f'<pre style="margin:0">{_text(error)}</pre>'
    return f'<details><summary style="color:{_RED}">{_text(lines[-1])}</summary>{whole}</details>'


def _titles(*titles: str) -> tuple[str, ...]:
    return tuple(f"<b>{_text(title)}</b>" for title in titles)


def _table(rows: Iterable[Sequence[str]]) -> str:
    cells = ("".join(f'<td style="text-align:left">{cell}</td>' for cell in row) for row in rows)
    return "<table>" + "".join(f"<tr>{row}</tr>" for row in cells) + "</table>"


def _state(state: JobState | FlowState) -> str:
    colour = STATE_COLOURS.get(JobState[state.name], _GREY)
    return f'<span style="color:{colour};font-weight:600">{state.name}</span>'


def _text(value: object) -> str:
    return escape(clean(str(value)))


def _error(job: JobInfo) -> str:
    return job.error or job.remote.error or ""
