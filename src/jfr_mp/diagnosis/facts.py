"""What is known about a job and about everything that it depends on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Self

from jfr_mp.model import JobInfo, Outage, StepInHand
from jfr_mp.states import JobState
from jfr_mp.step_table import Role


@dataclass(frozen=True)
class Parent:
    """A job that another one waits for.

    Parameters
    ----------
    uuid
        Its uuid.
    db_id, name, state, error
        Of its last index; None if there is no such job.
    """

    uuid: str
    db_id: str | None = None
    name: str | None = None
    state: JobState | None = None
    error: str | None = None

    @classmethod
    def of(cls, uuid: str, job: JobInfo | None) -> Self:
        """Describe the job of a uuid, or that there is none."""
        return cls(uuid, job.db_id, job.name, job.state, job.error or job.remote.error) if job else cls(uuid)


@dataclass(frozen=True)
class Cause:
    """The job at the beginning of a chain of jobs that wait for each other.

    Parameters
    ----------
    job
        The first job: it waits for no other one. If the chain is longer than what was examined, the farthest job.
    through
        The parent, of the job that is explained, at the other end of the chain; the same job in a chain of one.
    beyond
        Whether the chain goes on beyond `job`.
    """

    job: Parent
    through: Parent
    beyond: bool = False


@dataclass(frozen=True)
class LockHolder:
    """The holder of a lock.

    Parameters
    ----------
    lock_id, since
        The lock.
    owner
        The process that it names, as ``host:pid:token``; None for a lock of jobflow-remote.
    name
        The name of that process in the registry, such as ``transfer-1``.
    alive
        Whether its heartbeat is fresh.
    step
        The step that holds it, if that has been in progress for a while.
    """

    lock_id: str
    since: datetime | None = None
    owner: str | None = None
    name: str | None = None
    alive: bool = False
    step: StepInHand | None = None


@dataclass(frozen=True)
class Facts:
    """What is known about a job.

    Parameters
    ----------
    job
        The job.
    now
        The time of the database server.
    parents
        The jobs that it depends on.
    enough
        The states of a parent in which this job may start.
    causes
        For a job that waits: the first job of each chain that it waits for.
    lock, flow_lock
        The holders of the locks of the job and of its flow.
    roles
        The roles of all living processes, those of jobflow-remote's daemon included.
    outage
        The outage of the host of its worker.
    worker_known
        Whether the project has its worker.
    paused_by
        Who has paused its worker; None if it is not paused.
    in_queue, max_jobs
        How many jobs the scheduler has from its worker, and how many it may have.
    scheduler
        What the scheduler says of its process, or why it says nothing; None if it was not asked.
    """

    job: JobInfo
    now: datetime
    parents: tuple[Parent, ...] = ()
    enough: tuple[JobState, ...] = (JobState.COMPLETED,)
    causes: tuple[Cause, ...] = ()
    lock: LockHolder | None = None
    flow_lock: LockHolder | None = None
    roles: frozenset[Role] = frozenset(Role)
    outage: Outage | None = None
    worker_known: bool = True
    paused_by: str | None = None
    in_queue: int = 0
    max_jobs: int | None = None
    scheduler: str | None = None
