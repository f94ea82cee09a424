"""What an operator can do to jobs and flows: one row for each action, over the functions of the command line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jfr_mp.api.controller import JobController
from jfr_mp.api.edits import set_run_properties
from jfr_mp.database.job_edits import EDITABLE
from jfr_mp.errors import InvalidQuery, NotAllowed
from jfr_mp.gui import url_filters
from jfr_mp.states import FINAL_STATES, RUNNING_STATES, JobState

if TYPE_CHECKING:
    from jfr_mp.gui.views import View
    from jfr_mp.model import JobInfo

#: Seconds for which an action waits for the lock of a job.
_WAIT = 10

_FAILURES = (JobState.FAILED, JobState.REMOTE_ERROR)
_STOPPED = (JobState.PAUSED, JobState.STOPPED, JobState.USER_STOPPED)


@dataclass(frozen=True)
class Setting:
    """A value that the user gives together with the confirmation.

    Parameters
    ----------
    label
        What it is.
    kind
        How it is asked for: ``number``, ``worker``, or ``resources``.
    read
        Returns it from the form; raises InvalidQuery if it is not possible.
    """

    label: str
    kind: str
    read: Callable[[View], Any]


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
        Does it to one job by its db_id, or to one flow by its uuid, with the value of `setting`.
    states
        The states of jobs for which it is offered; None for all.
    dangerous
        Whether it cannot be undone.
    setting
        The value that it needs; None if it needs none.
    locked_only
        Whether it is offered for locked jobs only.
    further
        Whether it stands in the menu of further actions.
    """

    label: str
    meaning: str
    act: Callable[[JobController, str, Any], object]
    states: Sequence[JobState] | None = None
    dangerous: bool = False
    setting: Setting | None = None
    locked_only: bool = False
    further: bool = False

    def fits(self, job: JobInfo) -> bool:
        """Return whether it is offered for a job."""
        return (self.states is None or job.state in self.states) and (job.is_locked or not self.locked_only)


@dataclass(frozen=True)
class JobsOfFlows:
    """An action on those jobs of flows that are in some states: their preview is that of the action on jobs.

    Parameters
    ----------
    label
        The text of the button.
    states
        The states.
    dangerous
        Whether it cannot be undone.
    further
        Whether it stands in the menu of further actions.
    """

    label: str
    states: Sequence[JobState]
    dangerous: bool = False
    further: bool = False


def _priority(view: View) -> int:
    return url_filters.priority_of(view.field("value"))


def _worker(view: View) -> str:
    name, known = view.field("value"), view.opened.project.workers
    if name not in known:
        raise InvalidQuery(f"the project has no worker {name[:40]!r}; there are {', '.join(known)}")
    return name


def _resources(view: View) -> dict[str, Any]:
    return {"resources": url_filters.mapping_of(view.field("value")), "update": "replace" not in view.form}


def _unlock_job(controller: JobController, db_id: str, _value: Any) -> None:
    if not controller.unlock_jobs(db_ids=db_id):
        raise NotAllowed(f"job {db_id} is not locked")


def _unlock_flow(controller: JobController, flow_id: str, _value: Any) -> None:
    if not controller.unlock_flows(flow_ids=flow_id):
        raise NotAllowed(f"flow {flow_id} is not locked")


JOB_ACTIONS: dict[str, GuiAction] = {
    "rerun": GuiAction(
        "Rerun",
        "Run jobs again from the beginning. Jobs that are on their way are cancelled at their scheduler first.",
        lambda controller, db_id, _: controller.rerun_job(db_id=db_id, wait=_WAIT),
        (*_FAILURES, *RUNNING_STATES, JobState.STOPPED, JobState.USER_STOPPED),
    ),
    "retry": GuiAction(
        "Retry",
        "Retry at once the step that failed, of jobs in REMOTE_ERROR or waiting for their next attempt.",
        lambda controller, db_id, _: controller.retry_job(db_id=db_id, wait=_WAIT),
        (JobState.REMOTE_ERROR, *RUNNING_STATES),
    ),
    "pause": GuiAction(
        "Pause",
        "Keep jobs that are READY or WAITING from starting until they are resumed.",
        lambda controller, db_id, _: controller.pause_job(db_id=db_id, wait=_WAIT),
        (JobState.READY, JobState.WAITING),
    ),
    "resume": GuiAction(
        "Resume",
        "Resume jobs that were paused or stopped: they start, or wait for the jobs that they depend on.",
        lambda controller, db_id, _: controller.resume_job(db_id=db_id, wait=_WAIT),
        _STOPPED,
    ),
    "stop": GuiAction(
        "Stop",
        "Stop jobs that are READY or on their way, and cancel them at their scheduler.",
        lambda controller, db_id, _: controller.stop_job(db_id=db_id, wait=_WAIT),
        (JobState.READY, *RUNNING_STATES),
        dangerous=True,
    ),
    "delete": GuiAction(
        "Delete",
        "Delete jobs from their flows, for good. Outputs and run directories stay. Jobs that depend on them stay, too.",
        lambda controller, db_id, _: controller.delete_job(db_id=db_id, wait=_WAIT),
        (*FINAL_STATES, JobState.REMOTE_ERROR, JobState.READY, JobState.WAITING, JobState.PAUSED),
        dangerous=True,
    ),
    "priority": GuiAction(
        "Set priority",
        "Let jobs start before or after others: a higher priority starts first. Jobs in any state accept it.",
        lambda controller, db_id, value: set_run_properties(controller, db_id, priority=value, wait=_WAIT),
        setting=Setting("Priority", "number", _priority),
        further=True,
    ),
    "worker": GuiAction(
        "Set worker",
        "Let jobs run on another worker. Jobs that are on their way refuse.",
        lambda controller, db_id, value: set_run_properties(controller, db_id, worker=value, wait=_WAIT),
        EDITABLE,
        setting=Setting("Worker", "worker", _worker),
        further=True,
    ),
    "resources": GuiAction(
        "Set resources",
        "Request other resources from the scheduler. Jobs that are on their way refuse.",
        lambda controller, db_id, value: set_run_properties(controller, db_id, **value, wait=_WAIT),
        EDITABLE,
        setting=Setting("Resources", "resources", _resources),
        further=True,
    ),
    "unlock": GuiAction(
        "Unlock",
        "Break the locks of jobs. A process that still works on such a job loses its work; locks of processes that "
        "died are broken without this.",
        _unlock_job,
        dangerous=True,
        locked_only=True,
        further=True,
    ),
}

#: What is done to the jobs of flows: the name of the action on jobs, and the states of the jobs.
FLOW_JOB_ACTIONS: dict[str, JobsOfFlows] = {
    "rerun": JobsOfFlows("Rerun failed", (JobState.FAILED,)),
    "retry": JobsOfFlows("Retry", (JobState.REMOTE_ERROR,)),
    "pause": JobsOfFlows("Pause", (JobState.READY, JobState.WAITING)),
    "stop": JobsOfFlows("Stop", (JobState.READY, *RUNNING_STATES), dangerous=True),
}

#: What is done to flows as a whole.
FLOW_ACTIONS: dict[str, GuiAction] = {
    "resume": GuiAction(
        "Resume",
        "Resume all paused and stopped jobs of the flows.",
        lambda controller, flow_id, _: controller.resume_flow(flow_id=flow_id, wait=_WAIT),
    ),
    "delete": GuiAction(
        "Delete",
        "Delete the flows with all their jobs, for good. Outputs and run directories stay.",
        lambda controller, flow_id, _: controller.delete_flow(flow_id, wait=_WAIT),
        dangerous=True,
    ),
    "unlock": GuiAction(
        "Unlock",
        "Break the locks of the flows, not those of their jobs. A process that still works on such a flow loses its "
        "work; locks of processes that died are broken without this.",
        _unlock_flow,
        dangerous=True,
        further=True,
    ),
}

#: All buttons of flows.
FLOW_BUTTONS: dict[str, GuiAction | JobsOfFlows] = {**FLOW_JOB_ACTIONS, **FLOW_ACTIONS}
