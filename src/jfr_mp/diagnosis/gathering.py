"""Gathering the facts about a job: from the database, and from its scheduler."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from jfr_mp.database import paused_workers, processes, queries, running_runner
from jfr_mp.database.filters import JobFilter
from jfr_mp.diagnosis.causes import causes_of
from jfr_mp.diagnosis.facts import Facts, LockHolder, Parent
from jfr_mp.identity import owner_of_lock
from jfr_mp.membership import peer
from jfr_mp.states import JobState
from jfr_mp.step_table import POLL, Role

if TYPE_CHECKING:
    from jfr_mp.database.connection import QueueDatabase
    from jfr_mp.database.processes import ProcessRecord
    from jfr_mp.model import JobInfo, Outage, StepInHand
    from jfr_mp.steps.services import Services


def gather(db: QueueDatabase, job: JobInfo) -> Facts:
    """Return what the database knows about a job; `ask_scheduler` adds the rest."""
    living = _living(db)
    worker = db.project.workers.get(job.worker)
    latest = queries.with_requirement(db, job)
    parents = queries.latest_jobs(db, latest.parents)
    return Facts(
        job=job,
        now=db.server_time(),
        parents=tuple(Parent.of(uuid, parents[uuid].job if uuid in parents else None) for uuid in latest.parents),
        enough=latest.enough,
        causes=tuple(causes_of(db, latest)) if job.state is JobState.WAITING else (),
        lock=_holder(job.lock_id, job.lock_time, living, _step_of(job, living)),
        flow_lock=_holder(*queries.lock_of_flow(db, job), living),
        roles=_roles(db, living),
        outage=_outage(job.worker, living),
        worker_known=worker is not None,
        paused_by=next((each.by for each in paused_workers.listed(db) if each.worker == job.worker), None),
        in_queue=queries.count_jobs(db, JobFilter(workers=(job.worker,), states=POLL.sources)),
        max_jobs=db.project.job_limits().get(job.worker),
    )


def running_roles(db: QueueDatabase) -> frozenset[Role]:
    """Return the roles that are running on any machine; a daemon of jobflow-remote is taken to have all."""
    return _roles(db, _living(db))


def ask_scheduler(services: Services, job: JobInfo) -> str | None:
    """Return what the scheduler says of a job now; None for a job that it does not have.

    Raises
    ------
    HostError
        The host or the scheduler does not answer.
    """
    process_id = job.remote.process_id
    if job.state not in POLL.sources or not process_id:
        return None
    status = services.site(job.worker).scheduler.statuses([process_id]).get(process_id)
    if status is None:
        return "it knows no such job"
    return f"{status.name} ({status.said})" if status.said else status.name


def _step_of(job: JobInfo, living: dict[str, ProcessRecord]) -> StepInHand | None:
    steps = (step for record in living.values() for step in record.steps if step.db_id == job.db_id)
    return next(steps, None)


def _holder(
    lock_id: str | None, since: datetime | None, living: dict[str, ProcessRecord], step: StepInHand | None = None
) -> LockHolder | None:
    if lock_id is None:
        return None
    owner = owner_of_lock(lock_id)
    record = living.get(owner or "")
    return LockHolder(lock_id, since, owner, record.name if record else None, alive=record is not None, step=step)


def _living(db: QueueDatabase) -> dict[str, ProcessRecord]:
    return {record.id: record for record in processes.living(db, db.project.jfr_mp.lease_ttl)}


def _outage(worker: str, living: dict[str, ProcessRecord]) -> Outage | None:
    """Return the outage of the host of a worker, as the process that noticed it first describes it."""
    outages = [outage for record in living.values() for outage in record.outages]
    theirs = [outage for outage in outages if worker in outage.host.split(", ")]
    return min(theirs, key=lambda outage: outage.since, default=None)


def _roles(db: QueueDatabase, living: dict[str, ProcessRecord]) -> frozenset[Role]:
    runner = running_runner.read(db)
    if runner and not peer.is_of_jfr_mp(runner) and not peer.is_provably_dead(runner):
        return frozenset(Role)
    return frozenset(Role(role) for record in living.values() if record.kind == "role" for role in record.roles)
