"""The possible outcomes of a step, as values: no step uses exceptions for control flow.

A step returns one of these. The engine passes it to the queue database, which writes it under the lock of the job.
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
        Seconds before the next step may begin, for file systems that show new files with a delay.
    """

    state: JobState
    fields: Mapping[str, Any] = field(default_factory=dict)
    next_step_delay: float | None = None


class Blame(StrEnum):
    """The cause of a failure."""

    JOB = "job"
    #: The host is unreachable: none of its jobs can continue.
    HOST = "host"
    #: The host requires the user to log in.
    LOGIN = "login"
    #: A temporary condition: a locked flow, a limit of the site, an unavailable store.
    CIRCUMSTANCES = "circumstances"


@dataclass(frozen=True)
class Retry:
    """The step failed for a reason that may be temporary.

    Parameters
    ----------
    why
        One line for the user, stored on the job.
    delay
        Seconds to wait; None uses the project's ``delta_retry``.
    blame
        The cause. Only failures caused by the job itself count towards REMOTE_ERROR.
    detail
        More text for the user, such as a traceback.
    """

    why: str
    delay: float | None = None
    blame: Blame = Blame.JOB
    detail: str = ""

    @property
    def spend_attempt(self) -> bool:
        """Whether this failure counts as one of the job's attempts."""
        return self.blame is Blame.JOB


@dataclass(frozen=True)
class Fail:
    """Repeating the step cannot help: the job goes to REMOTE_ERROR with `why`."""

    why: str
    detail: str = ""


class Added(StrEnum):
    """The relation of new jobs to the job that returned them (jobflow's Response)."""

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
        The traceback, or the reason of the failure.
    start_time, end_time
        The start and the end of the job's function on the worker, in UTC.
    stored_data
        The data that the job asked to store on its document.
    added
        The serialized flows that the job returned, in the order in which they are added.
    stop_children, stop_jobflow
        Whether the job asked to stop its children, or its flow.
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
