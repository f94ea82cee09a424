"""What a step can say about a job: a value, never an exception used as control flow.

A step returns one of these; the loop hands it to the queue database, which writes it under the lock of the job.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from jfr_mp.states import JobState


@dataclass(frozen=True)
class Advance:
    """The step is done: the job is now in `state`.

    Parameters
    ----------
    state
        One of the targets of the step.
    fields
        Other fields of the job document to set, by dotted path, such as ``{"remote.process_id": "42"}``.
    next_step_delay
        Seconds before the next step may begin, for a file system that shows new files late.
    """

    state: JobState
    fields: Mapping[str, Any] = field(default_factory=dict)
    next_step_delay: float | None = None


class Blame(StrEnum):
    """Whose fault a failure is."""

    JOB = "job"
    #: Its host cannot be worked with: no job of it can go on.
    HOST = "host"
    #: Its host wants a person to log in.
    LOGIN = "login"
    #: Something that passes: a locked flow, a limit of the site, a store that is away.
    CIRCUMSTANCES = "circumstances"


@dataclass(frozen=True)
class Retry:
    """The step failed for a reason that may pass.

    Parameters
    ----------
    why
        One line for the user, stored on the job.
    delay
        Seconds to wait; None takes the project's ``delta_retry``.
    blame
        Whose fault it is. Only a job that is to blame itself comes nearer to REMOTE_ERROR.
    detail
        More text for the user, such as a traceback.
    """

    why: str
    delay: float | None = None
    blame: Blame = Blame.JOB
    detail: str = ""

    @property
    def spend_attempt(self) -> bool:
        """Whether this counts as one of the job's attempts."""
        return self.blame is Blame.JOB


@dataclass(frozen=True)
class Fail:
    """The step cannot succeed by being repeated: the job goes to REMOTE_ERROR with `why`."""

    why: str
    detail: str = ""


class Added(StrEnum):
    """How new jobs relate to the job that returned them (jobflow's Response)."""

    REPLACE = "replace"
    ADDITION = "addition"
    DETOUR = "detour"


@dataclass(frozen=True)
class Completion:
    """The end of a job: COMPLETED, or FAILED with `error`.

    Parameters
    ----------
    state
        COMPLETED or FAILED.
    error
        The traceback or the reason of a failure.
    start_time, end_time
        When the job's function ran on the worker, in UTC.
    stored_data
        What the job asked to keep on its document.
    added
        Serialized flows that the job returned, in the order in which they are added.
    stop_children, stop_jobflow
        What the job asked to stop.
    queue_out, queue_err
        The beginning of the scheduler's output files; kept for failures.
    """

    state: JobState
    error: str | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    stored_data: Mapping[str, Any] | None = None
    added: tuple[tuple[Added, Mapping[str, Any]], ...] = ()
    stop_children: bool = False
    stop_jobflow: bool = False
    queue_out: str | None = None
    queue_err: str | None = None


Outcome = Advance | Retry | Fail | Completion
