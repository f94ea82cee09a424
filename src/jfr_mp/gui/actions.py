"""What an operator can do to jobs and flows: chosen, shown, confirmed, done, and written into the audit log."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jfr_mp.api.controller import JobController
from jfr_mp.database import queries
from jfr_mp.database.filters import FlowFilter, JobFilter, is_empty
from jfr_mp.errors import InvalidQuery, JfrMpError, NotFound
from jfr_mp.gui import url_filters
from jfr_mp.states import FINAL_STATES, RUNNING_STATES, JobState

if TYPE_CHECKING:
    from starlette.responses import Response

    from jfr_mp.gui.views import View
    from jfr_mp.model import JobInfo

#: How many jobs one confirmation covers.
MOST_JOBS = 1_000
#: How many jobs or flows are listed in a preview.
_LISTED = 20
#: Seconds for which an action waits for the lock of a job.
_WAIT = 10

_FAILURES = (JobState.FAILED, JobState.REMOTE_ERROR)


@dataclass(frozen=True)
class GuiAction:
    """Something that an operator can do.

    Parameters
    ----------
    label
        The text of the button.
    meaning
        What it does, for the preview.
    act
        Does it to one job by its db_id, or to one flow by its uuid.
    states
        The states of jobs for which it is offered; None for all.
    dangerous
        Whether it cannot be undone.
    """

    label: str
    meaning: str
    act: Callable[[JobController, str], object]
    states: Sequence[JobState] | None = None
    dangerous: bool = False


JOB_ACTIONS: dict[str, GuiAction] = {
    "rerun": GuiAction(
        "Rerun",
        "Run jobs again from the beginning. Jobs that are on their way are cancelled at their scheduler first.",
        lambda controller, db_id: controller.rerun_job(db_id=db_id, wait=_WAIT),
        (*_FAILURES, *RUNNING_STATES, JobState.STOPPED, JobState.USER_STOPPED),
    ),
    "retry": GuiAction(
        "Retry",
        "Retry at once the step that failed, of jobs in REMOTE_ERROR or waiting for their next attempt.",
        lambda controller, db_id: controller.retry_job(db_id=db_id, wait=_WAIT),
        (JobState.REMOTE_ERROR, *RUNNING_STATES),
    ),
    "pause": GuiAction(
        "Pause",
        "Keep jobs that are READY or WAITING from starting until they are resumed.",
        lambda controller, db_id: controller.pause_job(db_id=db_id, wait=_WAIT),
        (JobState.READY, JobState.WAITING),
    ),
    "resume": GuiAction(
        "Resume",
        "Resume jobs that were paused or stopped: they start, or wait for the jobs that they depend on.",
        lambda controller, db_id: controller.resume_job(db_id=db_id, wait=_WAIT),
        (JobState.PAUSED, JobState.STOPPED, JobState.USER_STOPPED),
    ),
    "stop": GuiAction(
        "Stop",
        "Stop jobs that are READY or on their way, and cancel them at their scheduler.",
        lambda controller, db_id: controller.stop_job(db_id=db_id, wait=_WAIT),
        (JobState.READY, *RUNNING_STATES),
        dangerous=True,
    ),
    "delete": GuiAction(
        "Delete",
        "Delete jobs from their flows, for good. Outputs and run directories stay. Jobs that depend on them stay, too.",
        lambda controller, db_id: controller.delete_job(db_id=db_id, wait=_WAIT),
        (*FINAL_STATES, JobState.REMOTE_ERROR, JobState.READY, JobState.WAITING, JobState.PAUSED),
        dangerous=True,
    ),
}

FLOW_ACTIONS: dict[str, GuiAction] = {
    "resume": GuiAction(
        "Resume",
        "Resume all paused and stopped jobs of the flows.",
        lambda controller, flow_id: controller.resume_flow(flow_id=flow_id, wait=_WAIT),
    ),
    "delete": GuiAction(
        "Delete",
        "Delete the flows with all their jobs, for good. Outputs and run directories stay.",
        lambda controller, flow_id: controller.delete_flow(flow_id, wait=_WAIT),
        dangerous=True,
    ),
}


def preview_jobs(view: View) -> Response:
    """Show which jobs an action would change, and ask."""
    name, action = _action(JOB_ACTIONS, view.params.get("action", ""))
    jobs = _selected(view)
    return view.page(
        "preview.html",
        action.label,
        action=action,
        name=name,
        key="db_ids",
        things="job" if len(jobs) == 1 else "jobs",
        ids=[job.db_id for job in jobs],
        jobs=jobs[:_LISTED],
        flows=[],
        target=view.url("jobs", "act"),
        back=view.request.headers.get("referer") or view.url("jobs"),
    )


def act_on_jobs(view: View) -> Response:
    """Do it to each of the jobs that were shown, and show what has become of them."""
    name, action = _action(JOB_ACTIONS, view.field("action"))
    ids = _ids(view, "db_ids")
    before = {job.db_id: job.state.name for job in queries.jobs_info(view.db, JobFilter(db_ids=ids))}
    rows = [(db_id, _done(view, action, db_id) if db_id in before else "there is no such job") for db_id in ids]
    after = {job.db_id: job.state.name for job in queries.jobs_info(view.db, JobFilter(db_ids=ids))}
    view.opened.audit.write(
        view.session.user,
        view.address,
        f"job {name}",
        project=view.name,
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
    """Show which flows an action would change, and ask."""
    name, action = _action(FLOW_ACTIONS, view.params.get("action", ""))
    wanted = view.params.getlist("flow_ids")
    if not wanted:
        raise InvalidQuery("no flow is selected")
    flows = queries.flows_info(view.db, FlowFilter(flow_ids=wanted))
    return view.page(
        "preview.html",
        action.label,
        action=action,
        name=name,
        key="flow_ids",
        things="flow" if len(flows) == 1 else "flows",
        ids=[flow.flow_id for flow in flows],
        jobs=[],
        flows=flows[:_LISTED],
        target=view.url("flows", "act"),
        back=view.request.headers.get("referer") or view.url("flows"),
    )


def act_on_flows(view: View) -> Response:
    """Do it to each of the flows that were shown, and show what has become of them."""
    name, action = _action(FLOW_ACTIONS, view.field("action"))
    rows = [(flow_id, _done(view, action, flow_id)) for flow_id in _ids(view, "flow_ids")]
    details = [{"flow_id": flow_id, "error": error} for flow_id, error in rows]
    view.opened.audit.write(view.session.user, view.address, f"flow {name}", project=view.name, flows=details)
    return view.page(
        "done.html",
        action.label,
        label=action.label,
        rows=[(flow_id, view.url("flows", flow_id), None, None, error) for flow_id, error in rows],
        failures=sum(error is not None for _, error in rows),
    )


def _action(table: dict[str, GuiAction], name: str) -> tuple[str, GuiAction]:
    if name not in table:
        raise InvalidQuery(f"there is no action {name[:40]!r}; there are {', '.join(table)}")
    return name, table[name]


def _selected(view: View) -> list[JobInfo]:
    jobs = url_filters.jobs_of(view.params)
    if is_empty(jobs):
        raise InvalidQuery("no job is selected; mark some, or give a filter")
    found = queries.jobs_info(view.db, jobs, sort=[("created_on", 1), ("db_id", 1)], limit=MOST_JOBS + 1)
    if not found:
        raise NotFound("no job matches any more")
    if len(found) > MOST_JOBS:
        raise InvalidQuery(f"more than {MOST_JOBS} jobs are selected; narrow the filter, or use `jfr-mp job`")
    return found


def _ids(view: View, key: str) -> list[str]:
    ids: list[Any] = list(dict.fromkeys(view.form.get(key, ())))
    if not ids or len(ids) > MOST_JOBS:
        raise InvalidQuery(f"the form has {len(ids)} {key}; it may have 1 to {MOST_JOBS}")
    return ids


def _done(view: View, action: GuiAction, thing: str) -> str | None:
    """Act on one job or flow, and return why it was refused, or None."""
    try:
        action.act(view.opened.controller, thing)
    except (JfrMpError, ValueError) as error:
        return str(error)
    return None
