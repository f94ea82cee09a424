"""Decisions about batches and the jobs in a pool, without side effects."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Any, Self

from jfr_mp.batch.markers import HEARTBEAT, Place
from jfr_mp.schedulers import JobStatus
from jfr_mp.states import JobState

#: The number of consecutive scheduler answers without a batch after which the batch counts as gone.
_ABSENCES = 2
#: Seconds without a heartbeat after which the scheduler's answer is enough to conclude that a batch is gone.
_SILENCE = 2.5 * HEARTBEAT


@dataclass(frozen=True)
class BatchInfo:
    """The information that a batch writes about itself; only batches of jfr-mp write `takes_jobs`."""

    start_time: datetime | None = None
    last_ping_time: datetime | None = None
    end_time: datetime | None = None
    takes_jobs: bool = True

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return the content of the info file of a batch, or None if it cannot be parsed."""
        try:
            info = json.loads(text)
            times = {key: _time(info.get(key)) for key in ("start_time", "last_ping_time", "end_time")}
            return cls(**times, takes_jobs=bool(info.get("takes_jobs", True)))
        except (ValueError, AttributeError, TypeError, OverflowError, RecursionError):
            return None


def _time(value: Any) -> datetime | None:
    """Return a time that was serialized by monty."""
    text = value.get("string") if isinstance(value, dict) else value
    if not text:
        return None
    time = datetime.fromisoformat(text)
    # Truncated to milliseconds, the precision of MongoDB.
    time = time.replace(microsecond=time.microsecond // 1000 * 1000)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


class Life(Enum):
    """The phase of a batch."""

    #: It waits in the queue of the scheduler.
    QUEUED = auto()
    RUNNING = auto()
    #: The scheduler does not know it, but its last heartbeat is recent.
    DOUBTFUL = auto()
    #: It has reported its end, and that of its jobs, but the scheduler still lists it.
    ENDED = auto()
    #: It has certainly ended.
    GONE = auto()

    @property
    def holds_jobs(self) -> bool:
        """Whether the jobs that it took may be running."""
        return self not in (Life.ENDED, Life.GONE)


def life_of(status: JobStatus | None, absences: int, info: BatchInfo | None, silent: float) -> Life:
    """Return the phase of a batch.

    Parameters
    ----------
    status
        The scheduler's answer; None if it does not list the batch.
    absences
        The number of consecutive answers that do not list it, including this one.
    info
        The information that the batch wrote about itself; None if it has not begun.
    silent
        Seconds since its last new heartbeat.
    """
    ended = info is not None and info.end_time is not None
    if status is not None and not status.done:
        if ended:
            return Life.ENDED
        return Life.RUNNING if info is not None or status.running else Life.QUEUED
    if status is None and absences < _ABSENCES:
        return Life.ENDED if ended else Life.DOUBTFUL
    return Life.DOUBTFUL if info is not None and not ended and silent < _SILENCE else Life.GONE


@dataclass(frozen=True)
class RunDirState:
    """The state of the run directory of a job.

    Parameters
    ----------
    uploaded
        Whether its input exists.
    complete
        Whether its output is complete.
    alive
        Whether one of its processes is still running.
    """

    uploaded: bool = True
    complete: bool = False
    alive: bool = False


class Fate(Enum):
    """The next state of a job in the pool."""

    #: Its state does not change.
    STAYS = auto()
    #: It is running now.
    RUNS = auto()
    #: Its script has ended, successfully or not.
    ENDED = auto()
    #: It waits in the pool again.
    RETURNS = auto()
    #: Its run directory does not exist any more.
    DIRECTORY_GONE = auto()
    #: Too many of its batches have ended while it was running.
    GIVEN_UP = auto()


def fate_in_place(state: JobState, place: Place, held: bool) -> Fate | None:
    """Return what the place of a marker means for its job, or None if the run directory has to be examined.

    Parameters
    ----------
    state
        BATCH_SUBMITTED or BATCH_RUNNING.
    place
        The place of its marker.
    held
        Whether the batch that took it may still be running it.
    """
    match place:
        case Place.FINISHED:
            return Fate.ENDED
        case Place.SUBMITTED:
            return Fate.STAYS if state is JobState.BATCH_SUBMITTED else Fate.RETURNS
        case Place.RUNNING if held:
            return _runs(state)
    return None


def fate_by_run_dir(state: JobState, found: RunDirState, losses: int, most_losses: int) -> Fate:
    """Return the next state of a job that no batch is running, because its batch is gone or its marker is missing.

    Parameters
    ----------
    state
        BATCH_SUBMITTED or BATCH_RUNNING.
    found
        The state of its run directory.
    losses, most_losses
        The number of times that it has lost its batch, including this one, and the maximum.
    """
    if found.complete:
        return Fate.ENDED
    if found.alive:
        return _runs(state)
    if not found.uploaded:
        return Fate.DIRECTORY_GONE
    return Fate.GIVEN_UP if losses > most_losses else Fate.RETURNS


def _runs(state: JobState) -> Fate:
    return Fate.RUNS if state is JobState.BATCH_SUBMITTED else Fate.STAYS
