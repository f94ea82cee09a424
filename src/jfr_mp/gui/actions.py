"""Acting on jobs and flows: chosen, shown, confirmed, done, and written into the audit log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jfr_mp.database import queries
from jfr_mp.database.filters import FlowFilter, JobFilter, is_empty
from jfr_mp.errors import InvalidQuery, JfrMpError, NotFound
from jfr_mp.gui import url_filters
from jfr_mp.gui.action_table import FLOW_ACTIONS, FLOW_JOB_ACTIONS, JOB_ACTIONS, GuiAction

if TYPE_CHECKING:
    from starlette.responses import Response

    from jfr_mp.gui.views import View
    from jfr_mp.model import FlowInfo, JobInfo

#: How many jobs one confirmation covers.
MOST_JOBS = 1_000
#: How many jobs or flows are listed in a preview.
_LISTED = 20


def preview_jobs(view: View) -> Response:
    """Show which jobs an action would change, and ask."""
    name = view.params.get("action", "")
    _action(JOB_ACTIONS, name)
    jobs = url_filters.jobs_of(view.params)
    if is_empty(jobs):
        raise InvalidQuery("no job is selected; mark some, or give a filter")
    return _ask_for_jobs(view, name, jobs)


def act_on_jobs(view: View) -> Response:
    """Do it to each of the jobs that were shown, and show what has become of them."""
    name, action = _action(JOB_ACTIONS, view.field("action"))
    ids, value = _ids(view, "db_ids"), _value(view, action)
    before = {job.db_id: job.state.name for job in queries.jobs_info(view.db, JobFilter(db_ids=ids))}
    rows = [(db_id, _done(view, action, db_id, value) if db_id in before else "there is no such job") for db_id in ids]
    after = {job.db_id: job.state.name for job in queries.jobs_info(view.db, JobFilter(db_ids=ids))}
    view.opened.audit.write(
        view.session.user,
        view.address,
        f"job {name}",
        project=view.name,
        **({"value": value} if action.setting else {}),
        jobs=[
            {"db_id": db_id, "before": before.get(db_id), "after": after.get(db_id), "error": e} for db_id, e in rows
        ],
    )
    return view.page(
        "done.html",
        action.label,
        label=action.label,
        rows=[(db_id, view.url("jobs", db_id), before.get(db_id), after.get(db_id), error) for db_id, error in rows],
        failures=sum(error is not None for _, error in rows),
    )


def preview_flows(view: View) -> Response:
    """Show which flows, or which of their jobs, an action would change, and ask."""
    name, wanted = view.params.get("action", ""), view.params.getlist("flow_ids")
    if name not in FLOW_JOB_ACTIONS:
        _action(FLOW_ACTIONS, name)
    if not wanted:
        raise InvalidQuery("no flow is selected")
    if row := FLOW_JOB_ACTIONS.get(name):
        return _ask_for_jobs(view, name, JobFilter(flow_ids=wanted, states=row.states))
    flows = queries.flows_info(view.db, FlowFilter(flow_ids=wanted))
    if not flows:
        raise NotFound("there is no such flow any more")
    return _ask(view, name, FLOW_ACTIONS[name], flows=flows)


def act_on_flows(view: View) -> Response:
    """Do it to each of the flows that were shown, and show what has become of them."""
    name, action = _action(FLOW_ACTIONS, view.field("action"))
    rows = [(flow_id, _done(view, action, flow_id, None)) for flow_id in _ids(view, "flow_ids")]
    details = [{"flow_id": flow_id, "error": error} for flow_id, error in rows]
    view.opened.audit.write(view.session.user, view.address, f"flow {name}", project=view.name, flows=details)
    return view.page(
        "done.html",
        action.label,
        label=action.label,
        rows=[(flow_id, view.url("flows", flow_id), None, None, error) for flow_id, error in rows],
        failures=sum(error is not None for _, error in rows),
    )


def _action(table: Mapping[str, GuiAction], name: str) -> tuple[str, GuiAction]:
    if name not in table:
        raise InvalidQuery(f"there is no action {name[:40]!r}; there are {', '.join(table)}")
    return name, table[name]


def _ask_for_jobs(view: View, name: str, jobs: JobFilter) -> Response:
    found = queries.jobs_info(view.db, jobs, sort=[("created_on", 1), ("db_id", 1)], limit=MOST_JOBS + 1)
    if not found:
        states = " or ".join(state.name for state in jobs.states or ())
        raise NotFound(f"no job matches{f', none is {states}' if states else ' any more'}")
    if len(found) > MOST_JOBS:
        raise InvalidQuery(f"more than {MOST_JOBS} jobs are selected; narrow the filter, or use `jfr-mp job`")
    return _ask(view, name, JOB_ACTIONS[name], jobs=found)


def _ask(
    view: View, name: str, action: GuiAction, *, jobs: Sequence[JobInfo] = (), flows: Sequence[FlowInfo] = ()
) -> Response:
    """Show jobs or flows, and the form that confirms an action on them."""
    section, thing = ("flows", "flow") if flows else ("jobs", "job")
    ids = [flow.flow_id for flow in flows] or [job.db_id for job in jobs]
    return view.page(
        "preview.html",
        action.label,
        action=action,
        name=name,
        key="flow_ids" if flows else "db_ids",
        things=thing if len(ids) == 1 else f"{thing}s",
        ids=ids,
        jobs=jobs[:_LISTED],
        flows=flows[:_LISTED],
        workers=list(view.opened.project.workers),
        target=view.url(section, "act"),
        back=view.request.headers.get("referer") or view.url(section),
    )


def _ids(view: View, key: str) -> list[str]:
    ids: list[Any] = list(dict.fromkeys(view.form.get(key, ())))
    if not ids or len(ids) > MOST_JOBS:
        raise InvalidQuery(f"the form has {len(ids)} {key}; it may have 1 to {MOST_JOBS}")
    return ids


def _value(view: View, action: GuiAction) -> Any:
    """Return the value that the user has given; None if the action needs none."""
    return action.setting.read(view) if action.setting else None


def _done(view: View, action: GuiAction, thing: str, value: Any) -> str | None:
    """Act on one job or flow, and return why it was refused, or None."""
    try:
        action.act(view.opened.controller, thing, value)
    except (JfrMpError, ValueError) as error:
        return str(error)
    return None
