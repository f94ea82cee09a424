"""The pages with many things: the overview, flows, jobs, batches, workers and the log."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from pydantic import ValidationError

from jfr_mp.cli.filters import FLOW_FILTERS
from jfr_mp.config import LogLevel
from jfr_mp.database import overview, queries
from jfr_mp.database.batches import BatchFilter, find_batches
from jfr_mp.database.filters import JobFilter, is_empty
from jfr_mp.database.overview import MOST_COUNTED, Place
from jfr_mp.errors import InvalidQuery
from jfr_mp.gui import figures, url_filters
from jfr_mp.gui.action_table import FLOW_BUTTONS, JOB_ACTIONS
from jfr_mp.gui.master_actions import MASTER_ACTIONS
from jfr_mp.identity import host_name
from jfr_mp.states import FlowState, JobState
from jfr_mp.step_table import ROLES
from jfr_mp.supervisor.fleet_log import FleetLog, joined, log_here
from jfr_mp.supervisor.log_order import LogArguments

if TYPE_CHECKING:
    from starlette.responses import Response

    from jfr_mp.database.processes import ProcessRecord
    from jfr_mp.gui.views import View
    from jfr_mp.model import Outage

#: Rows of a part of a list.
_ROWS = 100
_FLOW_ROWS = 50
#: Failed jobs on the overview.
_SHOWN = 8
_LOG_ENTRIES = 300
_FAILURES = (JobState.FAILED, JobState.REMOTE_ERROR)


def overview_page(view: View) -> Response:
    """Show what is going on, and first what the user has to see to."""
    span = view.params.get("span", "hour")
    if span not in figures.SPANS:
        raise InvalidQuery(f"span is {span[:40]!r}; it can be {', '.join(figures.SPANS)}")
    by_worker = view.opened.counts()
    totals: Counter[JobState] = Counter()
    for counts in by_worker.values():
        totals.update(counts)
    failed = sum(totals[state] for state in _FAILURES)
    newest = queries.jobs_info(view.db, JobFilter(states=_FAILURES), sort=[("updated_on", -1)], limit=_SHOWN)
    members = view.opened.processes()
    bars = figures.bars(view.opened.ends(*figures.SPANS[span]), *figures.SPANS[span])
    return view.page(
        "overview.html",
        "Overview",
        live="",
        by_worker=by_worker,
        totals=totals,
        states=[state for state in JobState if totals[state]],
        number=sum(totals.values()),
        failed=failed,
        newest=newest if failed else [],
        late=view.opened.late_jobs(),
        masters=[record for record in members if record.kind == "master"],
        outages=_outages(members),
        dead_roles=[row for record in members for row in record.rows if row.get("state") == "FATAL"],
        missing_roles=_missing_roles(members),
        span=span,
        spans=figures.SPANS,
        bars=bars,
        phases=figures.mean_phases(bars),
        colours=figures.PHASES,
    )


def _filters(conditions: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Return what the filters of a page show and link to."""
    return {
        "conditions": conditions,
        "plain": urlencode(conditions),
        "chosen": dict(conditions),
        "chosen_states": {value.upper() for name, value in conditions if name == "states"},
        "with_value": url_filters.with_value,
    }


def jobs_page(view: View) -> Response:
    """Show jobs, the last updated first."""
    conditions = url_filters.conditions_in(view.params)
    jobs = url_filters.jobs_of(view.params)
    rows, place = overview.page_of_jobs(view.db, jobs, after=_place(view), limit=_ROWS)
    unfiltered = is_empty(jobs)
    total = (
        sum(sum(counts.values()) for counts in view.opened.counts().values())
        if unfiltered
        else overview.number_of(view.db.jobs, jobs.query(view.db))
    )
    return view.page(
        "jobs.html",
        "Jobs",
        live="",
        jobs=rows,
        **_filters(conditions),
        states=list(JobState),
        total=total,
        more_than=not unfiltered and total >= MOST_COUNTED,
        unfiltered=unfiltered,
        next_place=_text_of(place),
        actions=JOB_ACTIONS,
        workers=sorted(view.opened.project.workers),
    )


def flows_page(view: View) -> Response:
    """Show flows, the last updated first."""
    conditions = url_filters.conditions_in(view.params, FLOW_FILTERS)
    flows = url_filters.flows_of(view.params)
    rows, place = overview.page_of_flows(view.db, flows, after=_place(view), limit=_FLOW_ROWS)
    total = overview.number_of(view.db.flows, flows.query())
    return view.page(
        "flows.html",
        "Flows",
        live="",
        flows=rows,
        **_filters(conditions),
        states=list(FlowState),
        total=total,
        more_than=total >= MOST_COUNTED,
        next_place=_text_of(place),
        actions=FLOW_BUTTONS,
    )


def batches_page(view: View) -> Response:
    """Show the batches of batch workers, the last updated first."""
    worker = view.params.get("worker")
    wanted = BatchFilter(workers=[worker] if worker else [])
    return view.page(
        "batches.html", "Batches", live="", batches=find_batches(view.db, wanted, limit=_ROWS), worker=worker
    )


def workers_page(view: View) -> Response:
    """Show the workers with their jobs and their hosts, and the processes of all machines."""
    members = view.opened.processes()
    by_worker = view.opened.counts()
    workers = view.opened.project.workers
    return view.page(
        "workers.html",
        "Workers",
        live="",
        workers=workers,
        unknown=sorted(set(by_worker) - set(workers)),
        by_worker=by_worker,
        limits=view.opened.project.job_limits(),
        outages=_outages(members),
        masters=[record for record in members if record.kind == "master"],
        others=[record for record in members if record.kind != "master"],
        transfers=[transfer for record in members for transfer in record.transfers],
        steps=[step for record in members for step in record.steps],
        actions=MASTER_ACTIONS,
    )


def log_page(view: View) -> Response:
    """Show the last entries of the logs of all machines, and name the machines whose logs are missing."""
    wanted = _wanted_log(view)
    here, others = log_here(view.opened.project, wanted), _other_logs(view, wanted)
    log = joined([here, *([others] if others else [])], wanted.number)
    return view.page(
        "log.html",
        "Log",
        live="",
        entries=[(host, entry, logging.getLevelName(entry.level).lower()) for host, entry in reversed(log.entries)],
        log=log,
        waiting=others is None,
        several=len({host for host, _ in log.entries}) > 1,
        wanted=wanted,
        levels=list(LogLevel),
        roles=["master", *ROLES],
        directory=view.opened.project.log_dir,
        here_name=host_name(),
    )


def _wanted_log(view: View) -> LogArguments:
    given = {name: value for name in ("level", "role", "job") if (value := view.params.get(name))}
    try:
        return LogArguments.model_validate({"number": _LOG_ENTRIES, "level": LogLevel.INFO, **given})
    except ValidationError as error:
        (name, *_), why = error.errors()[0]["loc"], error.errors()[0]["msg"]
        raise InvalidQuery(f"{name} is {str(given.get(str(name)))[:40]!r}: {why}") from None


def _other_logs(view: View, wanted: LogArguments) -> FleetLog | None:
    """Return the logs of other machines; None if they have not answered yet."""
    is_alone = all(record.is_local for record in view.opened.processes()) and not view.opened.lost_masters()
    return FleetLog() if is_alone else view.opened.other_logs.get(wanted)


def _place(view: View) -> Place | None:
    text = view.params.get("after")
    return overview.place_of(text) if text else None


def _text_of(place: Place | None) -> str | None:
    return f"{place[0].isoformat()} {place[1]}" if place else None


def _outages(members: Sequence[ProcessRecord]) -> list[Outage]:
    found = sorted((outage for record in members for outage in record.outages), key=lambda outage: outage.since)
    return list({outage.host: outage for outage in reversed(found)}.values())


def _missing_roles(members: Sequence[ProcessRecord]) -> list[str]:
    """Return the roles that no machine runs, if any process runs at all."""
    running: set[Any] = {role for record in members if record.kind == "role" for role in record.roles}
    return [role for role in ROLES if role not in running] if running else []
