"""Gathers the facts from which `jfr_mp.diagnosis.explain` tells why a job is where it is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from jfr_mp.database import processes, queries, running_runner
from jfr_mp.database.filters import JobFilter
from jfr_mp.diagnosis.explain import Facts, LockHolder, Parent
from jfr_mp.identity import owner_of_lock
from jfr_mp.membership import peer
from jfr_mp.step_table import POLL, Role

if TYPE_CHECKING:
    from jfr_mp.database.connection import QueueDatabase
    from jfr_mp.database.processes import ProcessRecord
    from jfr_mp.model import JobInfo, Outage
    from jfr_mp.steps.services import Services


def gather(db: QueueDatabase, job: JobInfo) -> Facts:
    """Read all that the database knows and that has to do with a job; see also `ask_scheduler`."""
    living = {record.id: record for record in processes.living(db, db.project.jfr_mp.lease_ttl)}
    worker = db.project.workers.get(job.worker)
    return Facts(
        job=job,
        now=db.server_time(),
        parents=tuple(_parent(db, uuid) for uuid in job.parents or ()),
        enough=queries.states_that_satisfy(db, job),
        lock=_holder(job.lock_id, job.lock_time, living),
        flow_lock=_holder(*queries.lock_of_flow(db, job), living),
        roles=_roles(db, living),
        outage=_outage(job.worker, living),
        worker_known=worker is not None,
        in_queue=queries.count_jobs(db, JobFilter(workers=(job.worker,), states=POLL.sources)),
        max_jobs=worker.max_jobs if worker and not worker.is_batch else None,
    )


def ask_scheduler(services: Services, job: JobInfo) -> str | None:
    """Return what the scheduler says of a job now; None where it does not have it.

    Raises
    ------
    HostError
        The host or the scheduler does not answer.
    """
    process_id = job.remote.process_id
    if job.state not in POLL.sources or not process_id:
        return None
    statuses = services.site(job.worker).scheduler.statuses([process_id])
    status = statuses.get(process_id)
    if status is None:
        return "it knows no such job"
    return f"{status.name} ({status.said})" if status.said else status.name


def _parent(db: QueueDatabase, uuid: str) -> Parent:
    job = queries.job_info(db, job_id=uuid)
    return Parent(uuid, job.db_id, job.name, job.state) if job else Parent(uuid)


def _holder(lock_id: str | None, since: datetime | None, living: dict[str, ProcessRecord]) -> LockHolder | None:
    if lock_id is None:
        return None
    if since is not None and since.tzinfo is None:
        since = since.replace(tzinfo=UTC)  # as MongoDB gives it
    owner = owner_of_lock(lock_id)
    record = living.get(owner or "")
    return LockHolder(lock_id, since, owner, record.name if record else None, alive=record is not None)


def _outage(worker: str, living: dict[str, ProcessRecord]) -> Outage | None:
    """Return what the masters say of the host of a worker, by the one that found it away first."""
    outages = [outage for record in living.values() for outage in record.outages]
    theirs = [outage for outage in outages if worker in outage.host.split(", ")]
    return min(theirs, key=lambda outage: outage.since, default=None)


def _roles(db: QueueDatabase, living: dict[str, ProcessRecord]) -> frozenset[Role]:
    """Return the roles that somebody has; a daemon of jobflow-remote is taken to have all."""
    runner = running_runner.read(db)
    if runner and not peer.is_of_jfr_mp(runner) and not peer.is_provably_dead(runner):
        return frozenset(Role)
    return frozenset(Role(role) for record in living.values() if record.kind == "role" for role in record.roles)
