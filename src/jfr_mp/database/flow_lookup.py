"""Finding the flow of a job: the flow whose document lists the job.

The `hosts` of a job are the flows that it belongs to, from the innermost to the outermost. Only one of them has a
document. Users may add further hosts, so the position in the list does not identify the flow.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from jfr_mp.errors import FlowMissing

if TYPE_CHECKING:
    from jfr_mp.database.connection import QueueDatabase
    from jfr_mp.model import JobDoc, JobInfo

#: The maximum number of jobs whose flow a process caches.
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
    if job_uuid not in db.known_flows:
        found = _find(db, job_uuid, hosts)
        if found is None:
            return None
        if len(db.known_flows) >= _REMEMBERED:
            db.known_flows.clear()
        db.known_flows[job_uuid] = found
    return db.known_flows[job_uuid]


def _find(db: QueueDatabase, job_uuid: str, hosts: Sequence[str]) -> str | None:
    # An index answers this query without reading the documents, which may be large.
    named = [flow["uuid"] for flow in db.flows.find({"uuid": {"$in": list(hosts)}}, {"uuid": 1, "_id": 0})]
    if len(named) == 1:
        return str(named[0])
    listing: dict[str, Any] = {"jobs": job_uuid} | ({"uuid": {"$in": named}} if named else {})
    flow = db.flows.find_one(listing, {"uuid": 1, "_id": 0})
    return str(flow["uuid"]) if flow else None
