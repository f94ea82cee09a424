"""What is known of a batch, and what becomes of a job in the pool: decided here, without a side effect."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Any, Self

from jfr_mp.batch.markers import HEARTBEAT, Place
from jfr_mp.schedulers import JobStatus
from jfr_mp.states import JobState

#: How often a scheduler must answer without a batch before the batch counts as gone.
_ABSENCES = 2
#: Seconds without a sign of life after which the scheduler's word is enough that a batch is gone.
_SILENCE = 2.5 * HEARTBEAT


@dataclass(frozen=True)
class BatchInfo:
    """What a batch says about itself; only those of jfr-mp say `takes_jobs`."""

    start_time: datetime | None = None
    last_ping_time: datetime | None = None
    end_time: datetime | None = None
    takes_jobs: bool = True

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read the file of a batch, or return None if it says nothing."""
        try:
            info = json.loads(text)
            times = {key: _time(info.get(key)) for key in ("start_time", "last_ping_time", "end_time")}
            return cls(**times, takes_jobs=bool(info.get("takes_jobs", True)))
        except (ValueError, AttributeError, TypeError):
            return None


def _time(value: Any) -> datetime | None:
    """Read a time as monty serializes it."""
    text = value.get("string") if isinstance(value, dict) else value
    if not text:
        return None
    time = datetime.fromisoformat(text)
    # In the milliseconds that MongoDB keeps.
    time = time.replace(microsecond=time.microsecond // 1000 * 1000)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


class Life(Enum):
    """How far a batch is."""

    #: It waits in the queue of the scheduler.
    QUEUED = auto()
    RUNNING = auto()
    #: The scheduler denies it, but it gave a sign of life: time will tell.
    DOUBTFUL = auto()
    #: It has ended by its own word, its jobs with it, and the scheduler is not done with it yet.
    ENDED = auto()
    GONE = auto()

    @property
    def holds_jobs(self) -> bool:
        """Whether the jobs that it took may run."""
        return self not in (Life.ENDED, Life.GONE)


def life_of(status: JobStatus | None, absences: int, info: BatchInfo | None, silent: float) -> Life:
    """Return how far a batch is.

    Parameters
    ----------
    status
        The scheduler's answer; None if it does not mention the batch.
    absences
        How often it has not, in a row, this time included.
    info
        What the batch says about itself, None if it never began.
    silent
        Seconds for which it has not given a new sign of life.
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
    """What is found in the run directory of a job.

    Parameters
    ----------
    uploaded
        Its input is there.
    complete
        It has left its complete output.
    alive
        One of its processes still runs.
    """

    uploaded: bool = True
    complete: bool = False
    alive: bool = False


class Fate(Enum):
    """What becomes of a job."""

    STAYS = auto()
    #: It runs now.
    RUNS = auto()
    #: Its script has ended, well or not.
    ENDED = auto()
    #: It waits in the pool again.
    RETURNS = auto()
    #: Its run directory is gone.
    DIRECTORY_GONE = auto()
    #: Its batches die of it.
    GIVEN_UP = auto()


def fate_in_place(state: JobState, place: Place, held: bool) -> Fate | None:
    """Return what the place of a marker means for its job, or None if the run directory has to be looked at.

    Parameters
    ----------
    state
        BATCH_SUBMITTED or BATCH_RUNNING.
    place
        Where its marker is.
    held
        Whether the batch that took it may still run it.
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
    """Return what becomes of a job that no batch runs: its batch is gone, or its marker is.

    Parameters
    ----------
    state
        BATCH_SUBMITTED or BATCH_RUNNING.
    found
        What its run directory says.
    losses, most_losses
        How often it has lost its batch, this time included, and how often it may.
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
