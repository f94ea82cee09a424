"""The states of jobs, flows and batches; their names and meanings are those of jobflow-remote.

The steps that move a job from one state to the next are listed in `jfr_mp.step_table`.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum


class JobState(Enum):
    """The state of a job."""

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
    #: The old name of RUN_FINISHED, still used in the reference of the Runner.
    TERMINATED = "RUN_FINISHED"

    @classmethod
    def _missing_(cls, value: object) -> JobState | None:
        return cls.RUN_FINISHED if value == "TERMINATED" else None

    @property
    def short_value(self) -> str:
        """The abbreviation used in tables and on the command line, such as ``RU`` for RUNNING."""
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

#: The states in which a runner is processing the job.
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

#: A job in one of these states does not change state unless the user makes it.
FINAL_STATES = (JobState.COMPLETED, JobState.FAILED, JobState.STOPPED, JobState.USER_STOPPED)

#: A job in one of these states may still become COMPLETED or FAILED.
UNFINISHED_STATES = tuple(state for state in JobState if state not in FINAL_STATES)

#: A job in one of these states can be stopped by its flow.
STOPPABLE_STATES = (JobState.WAITING, JobState.READY)


class FlowState(Enum):
    """The state of a flow, derived from the states of its jobs."""

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
            The states of the jobs that no other job depends on. A flow is COMPLETED when all of them are, even if
            another job failed whose children accept missing references.

        Returns
        -------
        FlowState
            The state. A job in REMOTE_ERROR does not fail its flow, because the user may still repair the job.
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
    """The state of a batch, one scheduler job that runs many jobs."""

    SUBMITTED = "SUBMITTED"
    RUNNING = "RUNNING"
    FINISHED = "FINISHED"
