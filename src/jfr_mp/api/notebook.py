"""Jobs and flows as HTML, as notebooks show them. All text is escaped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from jfr_mp.logs import clean
from jfr_mp.states import RUNNING_STATES, FlowState, JobState

if TYPE_CHECKING:
    from jfr_mp.api.activity import ActivityReport
    from jfr_mp.model import FlowInfo, JobInfo

#: How many jobs of a flow are listed.
_LISTED = 30
#: Colours that can be read on white and on black.
_GREEN, _BLUE, _RED, _YELLOW, _GREY = "#2e9e5b", "#2f7fd6", "#d64545", "#b07d10", "#7d8794"
_COLOURS = {
    JobState.COMPLETED: _GREEN,
    JobState.FAILED: _RED,
    JobState.REMOTE_ERROR: _RED,
    **dict.fromkeys(RUNNING_STATES, _BLUE),
    **dict.fromkeys((JobState.PAUSED, JobState.STOPPED, JobState.USER_STOPPED), _YELLOW),
}


def job_html(job: JobInfo) -> str:
    """Return one job as a table of its fields."""
    rows = [
        ("State", _state(job.state)),
        ("Worker", _text(job.worker)),
        ("uuid", f"<code>{_text(job.uuid)}</code> index {job.index}"),
        ("Run time", "" if job.run_time is None else f"{job.run_time:.1f} s"),
        ("Directory", f"<code>{_text(job.run_dir)}</code>" if job.run_dir else ""),
        ("Error", f'<pre style="color:{_RED};margin:0">{_text(_error(job))}</pre>' if _error(job) else ""),
    ]
    heading = f"<b>Job {_text(job.db_id)}</b> {_text(job.name)}"
    return heading + _table([(f"<b>{name}</b>", value) for name, value in rows if value])


def flow_html(flow: FlowInfo) -> str:
    """Return a flow with the numbers of its jobs by state and, if these were read, the first of them."""
    counts = Counter(flow.job_states)
    numbers = ", ".join(f"{number} {_state(state)}" for state, number in counts.items())
    heading = f"<b>Flow</b> {_text(flow.name)} {_state(flow.state)}, {len(flow.db_ids)} jobs"
    jobs = flow.jobs_info or []
    rows = [
        (_text(job.db_id), _state(job.state), _text(job.name), _text(job.worker), _text(_last_line(job)))
        for job in jobs[:_LISTED]
    ]
    more = f"and {len(jobs) - _LISTED} more" if len(jobs) > _LISTED else ""
    return f"{heading}{': ' if numbers else ''}{numbers}" + (_table(rows) if rows else "") + more


def activity_html(report: ActivityReport) -> str:
    """Return what jobs have done as a table of workers and one of causes of failures."""
    heading = f"<b>Jobs</b> from {report.since:%Y-%m-%d %H:%M} to {report.until:%Y-%m-%d %H:%M} UTC"
    titles = tuple(f"<b>{title}</b>" for title in ("Worker", "Completed", "Failed", "Core hours"))
    workers = [
        (_text(name), str(worker.completed), str(worker.failed), f"{worker.core_hours:.2f}")
        for name, worker in report.workers.items()
    ]
    causes = [(str(cause.number), _text(cause.first_line)) for cause in report.failures[:_LISTED]]
    return heading + _table([titles, *workers]) + (f"<b>Failures</b>{_table(causes)}" if causes else "")


def _table(rows: Iterable[Sequence[str]]) -> str:
    cells = ("".join(f'<td style="text-align:left">{cell}</td>' for cell in row) for row in rows)
    return "<table>" + "".join(f"<tr>{row}</tr>" for row in cells) + "</table>"


def _state(state: JobState | FlowState) -> str:
    colour = _COLOURS.get(JobState[state.name], _GREY)
    return f'<span style="color:{colour};font-weight:600">{state.name}</span>'


def _text(value: object) -> str:
    return escape(clean(str(value)))


def _error(job: JobInfo) -> str:
    return job.error or job.remote.error or ""


def _last_line(job: JobInfo) -> str:
    return (_error(job).strip().splitlines() or [""])[-1]
