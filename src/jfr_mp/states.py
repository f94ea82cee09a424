"""The states of jobs, flows and batches, and the steps that move a job: the state machine as data.

Claim filters, commit filters, the roles, the help of the command line and the diagram in the docs all derive from
`STEPS`. State names and their meaning are jobflow-remote's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, StrEnum


class JobState(Enum):
    """Where a job is in its life."""

    WAITING = "WAITING"
    READY = "READY"
    CHECKED_OUT = "CHECKED_OUT"
    UPLOADED = "UPLOADED"
    SUBMITTED = "SUBMITTED"
    RUNNING = "RUNNING"
    RUN_FINISHED = "RUN_FINISHED"
    DOWNLOADED = "DOWNLOADED"
    REMOTE_ERROR = "REMOTE_ERROR"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    PAUSED = "PAUSED"
    STOPPED = "STOPPED"
    USER_STOPPED = "USER_STOPPED"
    BATCH_SUBMITTED = "BATCH_SUBMITTED"
    BATCH_RUNNING = "BATCH_RUNNING"
    #: The old name of RUN_FINISHED, still used by the reference of the Runner.
    TERMINATED = "RUN_FINISHED"

    @classmethod
    def _missing_(cls, value: object) -> JobState | None:
        return cls.RUN_FINISHED if value == "TERMINATED" else None

    @property
    def short_value(self) -> str:
        """The abbreviation that tables and command lines use, such as ``RU`` for RUNNING."""
        return _SHORT[self]


_SHORT = {
    JobState.WAITING: "W",
    JobState.READY: "R",
    JobState.CHECKED_OUT: "CE",
    JobState.UPLOADED: "U",
    JobState.SUBMITTED: "SU",
    JobState.RUNNING: "RU",
    JobState.RUN_FINISHED: "RF",
    JobState.DOWNLOADED: "D",
    JobState.REMOTE_ERROR: "RERR",
    JobState.COMPLETED: "C",
    JobState.FAILED: "F",
    JobState.PAUSED: "P",
    JobState.STOPPED: "ST",
    JobState.USER_STOPPED: "CA",
    JobState.BATCH_SUBMITTED: "BS",
    JobState.BATCH_RUNNING: "BR",
}

#: A job in one of these is in the hands of a runner.
RUNNING_STATES = (
    JobState.CHECKED_OUT,
    JobState.UPLOADED,
    JobState.SUBMITTED,
    JobState.RUNNING,
    JobState.RUN_FINISHED,
    JobState.DOWNLOADED,
    JobState.BATCH_SUBMITTED,
    JobState.BATCH_RUNNING,
)

#: A job in one of these does not move any more unless a person moves it.
FINAL_STATES = (JobState.COMPLETED, JobState.FAILED, JobState.STOPPED, JobState.USER_STOPPED)

#: A job in one of these may still become COMPLETED or FAILED.
UNFINISHED_STATES = tuple(state for state in JobState if state not in FINAL_STATES)

#: A job in one of these can be stopped by its flow.
STOPPABLE_STATES = (JobState.WAITING, JobState.READY)


class FlowState(Enum):
    """Where a flow is, derived from the states of its jobs."""

    WAITING = "WAITING"
    READY = "READY"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    PAUSED = "PAUSED"
    STOPPED = "STOPPED"

    @classmethod
    def from_jobs_states(cls, jobs_states: Iterable[JobState], leaf_states: Iterable[JobState]) -> FlowState:
        """Derive the state of a flow.

        Parameters
        ----------
        jobs_states
            The states of all jobs of the flow.
        leaf_states
            The states of the jobs that no other job depends on. A flow is COMPLETED when they are, even when a job in
            the middle failed and its children accept missing references.

        Returns
        -------
        FlowState
            REMOTE_ERROR does not fail a flow: a person may still repair the job.
        """
        states = set(jobs_states)
        leaves = set(leaf_states)
        rules = (
            (states <= {JobState.WAITING}, cls.WAITING),
            (states <= {JobState.WAITING, JobState.READY}, cls.READY),
            (leaves <= {JobState.COMPLETED}, cls.COMPLETED),
            (JobState.FAILED in states, cls.FAILED),
            (not states.isdisjoint({JobState.STOPPED, JobState.USER_STOPPED}), cls.STOPPED),
            (JobState.PAUSED in states, cls.PAUSED),
        )
        return next((state for holds, state in rules if holds), cls.RUNNING)


class BatchState(Enum):
    """Where a batch process (one allocation that runs many jobs) is."""

    SUBMITTED = "SUBMITTED"
    RUNNING = "RUNNING"
    FINISHED = "FINISHED"


class Role(StrEnum):
    """One concern of the runner; each has processes of its own."""

    CHECKOUT = "checkout"
    TRANSFER = "transfer"
    QUEUE = "queue"
    COMPLETE = "complete"


@dataclass(frozen=True)
class Step:
    """One row of the state machine: a role takes a job from one of `sources` to one of `targets`."""

    name: str
    role: Role
    sources: tuple[JobState, ...]
    targets: tuple[JobState, ...]
    summary: str


CHECKOUT = Step("checkout", Role.CHECKOUT, (JobState.READY,), (JobState.CHECKED_OUT,), "reserve a job")
UPLOAD = Step(
    "upload",
    Role.TRANSFER,
    (JobState.CHECKED_OUT,),
    (JobState.UPLOADED,),
    "resolve the references and put the input on the worker",
)
SUBMIT = Step(
    "submit",
    Role.QUEUE,
    (JobState.UPLOADED,),
    (JobState.SUBMITTED, JobState.BATCH_SUBMITTED),
    "hand the job to the scheduler, or to the pool of a batch worker",
)
POLL = Step(
    "poll",
    Role.QUEUE,
    (JobState.SUBMITTED, JobState.RUNNING),
    (JobState.RUNNING, JobState.RUN_FINISHED, JobState.DOWNLOADED),
    "ask the scheduler; a local worker needs no download",
)
BATCH = Step(
    "batch",
    Role.QUEUE,
    (JobState.BATCH_SUBMITTED, JobState.BATCH_RUNNING),
    (JobState.BATCH_SUBMITTED, JobState.BATCH_RUNNING, JobState.RUN_FINISHED, JobState.DOWNLOADED),
    "look after the pool of a batch worker; a job whose batch ended too early waits again",
)
DOWNLOAD = Step(
    "download", Role.TRANSFER, (JobState.RUN_FINISHED,), (JobState.DOWNLOADED,), "get the output from the worker"
)
COMPLETE = Step(
    "complete",
    Role.COMPLETE,
    (JobState.DOWNLOADED,),
    (JobState.COMPLETED, JobState.FAILED),
    "store the output, add the jobs it asks for, free its children",
)

STEPS = (CHECKOUT, UPLOAD, SUBMIT, POLL, BATCH, DOWNLOAD, COMPLETE)


def steps_of(role: Role) -> tuple[Step, ...]:
    """Return the steps of a role, in the order in which a job meets them."""
    return tuple(step for step in STEPS if step.role is role)


def step_from(state: JobState) -> Step | None:
    """Return the step that takes a job out of `state`, or None where none does."""
    return next((step for step in STEPS if state in step.sources), None)
