"""Finding the flow of a job: the flow whose document lists the job.

The `hosts` of a job are the flows that it belongs to, from the innermost to the outermost. Only one of them has a
document. Users may add further hosts, so the position in the list does not identify the flow.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from jfr_mp.database.field_types import texts
from jfr_mp.errors import FlowMissing

if TYPE_CHECKING:
    from jfr_mp.database.connection import QueueDatabase
    from jfr_mp.model import JobDoc, JobInfo

#: The maximum number of flows that a process caches, by the hosts of their jobs.
_REMEMBERED = 10_000


def flow_uuid(db: QueueDatabase, job: JobDoc | JobInfo) -> str:
    """Return the uuid of the flow of a job.

    Raises
    ------
    FlowMissing
        No flow lists the job.
    """
    found = find_flow(db, job.uuid, job.hosts or ())
    if found is None:
        raise FlowMissing(
            f"job {job.db_id} ({job.uuid}) cannot continue: no flow in the database {db.db.name} lists it; "
            "delete the job"
        )
    return found


def flow_uuids(db: QueueDatabase, jobs: Iterable[JobDoc | JobInfo]) -> set[str]:
    """Return the uuids of the flows of some jobs; jobs without a flow are skipped."""
    found = (find_flow(db, job.uuid, job.hosts or ()) for job in jobs)
    return {uuid for uuid in found if uuid is not None}


def find_flow(db: QueueDatabase, job_uuid: str, hosts: Sequence[str]) -> str | None:
    """Return the uuid of the flow that lists a job, or None if there is none.

    Parameters
    ----------
    job_uuid
        The uuid of the job.
    hosts
        The flows that the job names; empty if unknown.
    """
    # The jobs of a flow usually name the same hosts; a job that names none, or several flows, is looked up by itself.
    key = tuple(hosts) or (job_uuid,)
    if key in db.known_flows:
        return db.known_flows[key]
    named = _named(db, hosts)
    if len(named) != 1:
        return _listing(db, job_uuid, named)
    _remember(db, key, named[0])
    return named[0]


def reported_flow(db: QueueDatabase, job_uuid: str | None, hosts: Any) -> str | None:
    """Return the flow of a job for a report, as `reported_flows` does for many."""
    return reported_flows(db, [(job_uuid, hosts)])[0]


def reported_flows(db: QueueDatabase, jobs: Sequence[tuple[str | None, Any]]) -> list[str | None]:
    """Return the uuid of the flow of each job, or None if no flow lists it.

    A job that names one host needs no query, so that its flow is known even if both have been deleted. One query finds
    the flows of all others that name one flow with a document.

    Parameters
    ----------
    jobs
        The uuid and the hosts of each job, as its document has them: of any type if it is damaged.
    """
    clean = [(uuid, texts(hosts)) for uuid, hosts in jobs]
    unknown = {tuple(hosts) for _, hosts in clean if len(hosts) > 1} - db.known_flows.keys()
    if len(unknown) > 1:
        named = set(_named(db, {host for hosts in unknown for host in hosts}))
        for key in unknown:
            flows = named.intersection(key)
            if len(flows) == 1:
                _remember(db, key, flows.pop())
    return [
        hosts[0] if len(hosts) == 1 else find_flow(db, uuid, hosts) if isinstance(uuid, str) else None
        for uuid, hosts in clean
    ]


def _remember(db: QueueDatabase, key: tuple[str, ...], flow: str) -> None:
    if len(db.known_flows) >= _REMEMBERED:
        db.known_flows.clear()
    db.known_flows[key] = flow


def _named(db: QueueDatabase, hosts: Collection[str]) -> list[str]:
    """Return the hosts that are flows with a document; an index answers without reading the documents."""
    if not hosts:
        return []
    return [str(flow["uuid"]) for flow in db.flows.find({"uuid": {"$in": list(hosts)}}, {"uuid": 1, "_id": 0})]


def _listing(db: QueueDatabase, job_uuid: str, named: Sequence[str]) -> str | None:
    listing: dict[str, Any] = {"jobs": job_uuid} | ({"uuid": {"$in": list(named)}} if named else {})
    flow = db.flows.find_one(listing, {"uuid": 1, "_id": 0})
    return str(flow["uuid"]) if flow else None
