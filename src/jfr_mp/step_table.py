"""The steps that move a job, and the roles that perform them: one row each.

Everything else derives from these rows: claim and commit filters, the tasks of a role process, its wake-ups and
intervals, the fault points of the crash tests, the flags and help of the command line, and the diagram in the
documentation. To add a step, add a row here and the module that its `function` names.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, StrEnum, auto
from importlib import import_module
from typing import Any

from jfr_mp.states import JobState as S


class Role(StrEnum):
    """One concern of the runner; each role has its own processes."""

    CHECKOUT = "checkout"
    TRANSFER = "transfer"
    QUEUE = "queue"
    COMPLETE = "complete"


@dataclass(frozen=True)
class RoleRow:
    """The properties of a role.

    Parameters
    ----------
    summary
        What the role does, for help texts: "Run the role that ...".
    flag
        The short option that selects it, as in jobflow-remote's ``runner run``.
    scalable
        Whether several processes on one machine can share its work (``--num-ROLE N``).
    per_host
        Whether its steps access hosts: each host then has its own lane.
    exclusive
        Whether only one process in the whole deployment does the work of a host at a time.
    uses_jobstores
        Whether its steps read or write JobStores, which are then opened before the first job needs them.
    """

    summary: str
    flag: str
    scalable: bool = False
    per_host: bool = False
    exclusive: bool = False
    uses_jobstores: bool = False


ROLES: dict[Role, RoleRow] = {
    Role.CHECKOUT: RoleRow("reserves the jobs that are READY", "-cho"),
    Role.TRANSFER: RoleRow(
        "uploads inputs and downloads outputs", "-t", scalable=True, per_host=True, uses_jobstores=True
    ),
    Role.QUEUE: RoleRow("submits jobs to the schedulers and watches them", "-q", per_host=True, exclusive=True),
    Role.COMPLETE: RoleRow(
        "stores outputs, adds returned jobs and releases children", "-com", scalable=True, uses_jobstores=True
    ),
}


#: The time in seconds that a step of one job may take by default.
_HOUR = 3600.0


class Kind(Enum):
    """How a step finds its jobs."""

    #: The step claims the next jobs and runs its function on each of them.
    CLAIM = auto()
    #: The step examines all jobs in its states together and claims the jobs that have moved.
    SURVEY = auto()


@dataclass(frozen=True)
class Step:
    """One row of the state machine: a role takes a job from one of `sources` to one of `targets`.

    Parameters
    ----------
    name
        The name used in logs, in `job explain` and in fault points.
    role
        The role that performs it.
    sources, targets
        The states between which it moves a job.
    summary
        What it does, for help texts: "The next step is to ...".
    function
        The implementation, as ``module:name``: a function ``run(job, site, services) -> Outcome`` or, for a survey, a
        class with the methods of `jfr_mp.engine.surveys.Survey`. Only processes that perform the step import it.
    interval
        The option in the project's `runner` section that sets the longest time between two searches, in seconds.
    limit
        The time in seconds after which the step of one job, or one survey, counts as hung; `step_limits` of the project
        can change it.
    kind
        How it finds its jobs.
    claims
        The maximum number of jobs that one turn claims and commits together.
    at_once
        The number of claimed jobs on a remote host for which a process performs it at the same time: a job mostly waits
        for answers of the host.
    wakes
        The states that trigger a search for work as soon as a job enters them; `sources` by default.
    inputs
        Whether it needs the inputs of a job, which may be megabytes.
    respects_max_jobs
        Whether it skips the jobs of workers that already have `max_jobs` jobs in their queue.
    fault_points
        The places inside its function at which a test can interrupt it: the name, and what has and has not been done.
    placed
        Whether it needs the files of the job on this machine, if they are not on a host that every machine reaches.
    places
        Whether it decides on which machine a job of a local worker runs.
    remote_only
        Whether only jobs of remote workers and batch workers pass through it.
    begins
        Whether it brings a job closer to its start, so that it leaves out the jobs of paused workers.
    """

    name: str
    role: Role
    sources: tuple[S, ...]
    targets: tuple[S, ...]
    summary: str
    function: str
    interval: str
    limit: float = _HOUR
    kind: Kind = Kind.CLAIM
    claims: int = 1
    at_once: int = 1
    wakes: tuple[S, ...] = ()
    inputs: bool = False
    respects_max_jobs: bool = False
    fault_points: tuple[tuple[str, str], ...] = ()
    placed: bool = False
    places: bool = False
    remote_only: bool = False
    begins: bool = False

    def load(self) -> Any:
        """Import and return the implementation of the step."""
        module, _, name = self.function.partition(":")
        return getattr(import_module(module), name)


CHECKOUT = Step(
    name="checkout",
    role=Role.CHECKOUT,
    sources=(S.READY,),
    targets=(S.CHECKED_OUT,),
    summary="reserve the job",
    function="jfr_mp.steps.checkout:run",
    interval="delay_checkout",
    limit=600.0,
    claims=20,
    begins=True,
)
UPLOAD = Step(
    name="upload",
    role=Role.TRANSFER,
    sources=(S.CHECKED_OUT,),
    targets=(S.UPLOADED,),
    summary="resolve the references and put the input on the worker",
    function="jfr_mp.steps.upload:run",
    interval="delay_advance_status",
    limit=6 * _HOUR,
    claims=16,
    at_once=16,
    inputs=True,
    places=True,
    begins=True,
    fault_points=(
        ("before_put", "the input is built, nothing is on the worker"),
        ("after_put", "the input is on the worker"),
    ),
)
SUBMIT = Step(
    name="submit",
    role=Role.QUEUE,
    sources=(S.UPLOADED,),
    targets=(S.SUBMITTED, S.BATCH_SUBMITTED),
    summary="submit the job to the scheduler, or put it into the pool of a batch worker",
    function="jfr_mp.steps.submit:run",
    interval="delay_advance_status",
    claims=16,
    at_once=16,
    respects_max_jobs=True,
    placed=True,
    begins=True,
    fault_points=(("after_submit", "the scheduler has the job, its id is not in the database"),),
)
POLL = Step(
    name="poll",
    role=Role.QUEUE,
    sources=(S.SUBMITTED, S.RUNNING),
    targets=(S.RUNNING, S.RUN_FINISHED, S.DOWNLOADED),
    summary="ask the scheduler; a local worker needs no download",
    function="jfr_mp.engine.polling:Polling",
    interval="delay_check_run_status",
    kind=Kind.SURVEY,
    wakes=(S.SUBMITTED,),
    placed=True,
)
BATCH = Step(
    name="batch",
    role=Role.QUEUE,
    sources=(S.BATCH_SUBMITTED, S.BATCH_RUNNING),
    targets=(S.BATCH_SUBMITTED, S.BATCH_RUNNING, S.RUN_FINISHED, S.DOWNLOADED),
    summary="track the jobs in the pool of a batch worker; a job whose batch ended too early returns to the pool",
    function="jfr_mp.batch.rounds:BatchRounds",
    interval="delay_update_batch",
    kind=Kind.SURVEY,
    wakes=(S.BATCH_SUBMITTED,),
    placed=True,
    remote_only=True,
)
DOWNLOAD = Step(
    name="download",
    role=Role.TRANSFER,
    sources=(S.RUN_FINISHED,),
    targets=(S.DOWNLOADED,),
    summary="copy the output from the worker",
    function="jfr_mp.steps.download:run",
    interval="delay_advance_status",
    limit=6 * _HOUR,
    claims=16,
    at_once=16,
    fault_points=(("after_get", "the output is on this machine"),),
    placed=True,
    remote_only=True,
)
COMPLETE = Step(
    name="complete",
    role=Role.COMPLETE,
    sources=(S.DOWNLOADED,),
    targets=(S.COMPLETED, S.FAILED, S.RUN_FINISHED),
    summary="store the output, add the jobs that it returned and release its children",
    function="jfr_mp.steps.complete:run",
    interval="delay_advance_status",
    claims=16,
    placed=True,
    fault_points=(
        ("after_copy", "the output is in the JobStore, the state of the job is unchanged"),
        ("after_append", "the returned jobs are in the flow, the children are unchanged"),
        ("after_children", "the children are READY, the state of the flow is unchanged"),
        ("after_flow", "the flow has its new state, the job has not"),
        ("after_job", "the job has its final state, the flow is still locked"),
    ),
)

STEPS = (CHECKOUT, UPLOAD, SUBMIT, POLL, BATCH, DOWNLOAD, COMPLETE)


def steps_of(role: Role) -> tuple[Step, ...]:
    """Return the steps of a role, in the order in which a job meets them."""
    return tuple(step for step in STEPS if step.role is role)


def step_from(state: S) -> Step | None:
    """Return the step that takes a job out of `state`, or None if none does."""
    return next((step for step in STEPS if state in step.sources), None)


def wake_states(roles: Iterable[Role]) -> frozenset[S]:
    """Return the states that give any of these roles work when a job enters them."""
    return frozenset(state for role in roles for step in steps_of(role) for state in step.wakes or step.sources)
