"""The flow of a job: the one whose document lists the job.

A job names the flows that it belongs to in its `hosts`, from the innermost to the outermost, and only one of them has a
document. Users may add further hosts of their own, so the position of a host says nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from jfr_mp.errors import FlowMissing

if TYPE_CHECKING:
    from jfr_mp.database.connection import QueueDatabase
    from jfr_mp.model import JobDoc, JobInfo

#: The most jobs whose flow a process remembers.
_REMEMBERED = 10_000


def flow_uuid(db: QueueDatabase, job: JobDoc | JobInfo) -> str:
    """Return the uuid of the flow of a job.

    Raises
    ------
    FlowMissing
        There is no such flow.
    """
    found = find_flow(db, job.uuid, job.hosts or ())
    if found is None:
        raise FlowMissing(
            f"no flow in the database {db.db.name} lists job {job.db_id} ({job.uuid}), so that it cannot go on; "
            "delete the job"
        )
    return found


def flow_uuids(db: QueueDatabase, jobs: Iterable[JobDoc | JobInfo]) -> set[str]:
    """Return the uuids of the flows of some jobs; a job without a flow is left out."""
    found = (find_flow(db, job.uuid, job.hosts or ()) for job in jobs)
    return {uuid for uuid in found if uuid is not None}


def find_flow(db: QueueDatabase, job_uuid: str, hosts: Sequence[str]) -> str | None:
    """Return the uuid of the flow that lists a job, or None if there is none.

    Parameters
    ----------
    job_uuid
        The uuid of the job.
    hosts
        What the job says of its flows; empty if that is not known.
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
    # The index alone answers this, and the document of a flow may be large.
    named = [flow["uuid"] for flow in db.flows.find({"uuid": {"$in": list(hosts)}}, {"uuid": 1, "_id": 0})]
    if len(named) == 1:
        return str(named[0])
    listing: dict[str, Any] = {"jobs": job_uuid} | ({"uuid": {"$in": named}} if named else {})
    flow = db.flows.find_one(listing, {"uuid": 1, "_id": 0})
    return str(flow["uuid"]) if flow else None
