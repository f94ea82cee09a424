"""The registry of masters and role processes, and the locks of processes that died.

A process is alive while its heartbeat is fresh by the server's clock; no client's clock takes part.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, ValidationError
from pymongo.errors import OperationFailure

from jfr_mp.database.field_types import IS_DATE
from jfr_mp.database.leases import free_leases
from jfr_mp.database.locks import UNLOCKED
from jfr_mp.identity import LOCK_PREFIX, ProcessIdentity
from jfr_mp.model import Document, Outage, StepInHand, Transfer, utcnow

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession

    from jfr_mp.database.connection import Doc, QueueDatabase

logger = logging.getLogger(__name__)

#: Seconds for which a master that was lost is remembered.
_REMEMBERED = 7 * 86_400.0

#: The server's clock, in an aggregation expression.
_NOW = "$$NOW"

#: A damaged record must not make the arithmetic of a query fail, and with it the eviction of all others.
_HAS_TIME = {"heartbeat": IS_DATE}

#: Seconds, some thirty years: an infinite age cannot be subtracted from a date.
_AGES = 1e9


class Report(Document):
    """What a process says of itself with each heartbeat; a field that is not set stays as it is in the registry.

    Parameters
    ----------
    state
        RUNNING or STOPPING.
    rows
        Of a master: the status of its role processes.
    outages
        Of a master: the hosts that its role processes found unreachable.
    transfers
        Of a master: the files that its role processes have been transferring for a while.
    steps
        The steps that it is performing; of a master, the long ones of its role processes.
    notices
        Of a master: what the user should know of it.
    places
        The directories that it sees; see `jfr_mp.places`.
    last_error
        The last error that it met.
    """

    state: str = "RUNNING"
    rows: list[dict[str, Any]] = Field(default_factory=list)
    outages: list[Outage] = Field(default_factory=list)
    transfers: list[Transfer] = Field(default_factory=list)
    steps: list[StepInHand] = Field(default_factory=list)
    notices: list[str] = Field(default_factory=list)
    places: list[str] = Field(default_factory=list)
    last_error: str | None = None


class ProcessRecord(Report, ProcessIdentity):
    """A document of the registry: which process it is, what it does, and its last report.

    Parameters
    ----------
    id
        The owner that its locks name; the document's `_id`.
    kind
        Whether it is a master, or takes jobs through their steps.
    name
        Its name in status, such as ``transfer-1``.
    roles
        Of a master: the roles of its role processes. Otherwise the roles of this process.
    project
        The project that it works on.
    runtime
        Of a master: the directory in which the masters of the project on its machine keep their sockets.
    version, python
        The versions of jfr-mp and of Python.
    config
        A hash of its configuration; see `jfr_mp.config.fingerprint`.
    address
        The address by which its machine reaches the database.
    clock_offset
        Seconds by which its clock is ahead of the server's.
    bus, bus_key
        Of a master: the address at which other machines reach its bus, and the public key of the bus.
    started_on, heartbeat
        By the server's clock.
    """

    id: str
    kind: Literal["master", "role"]
    name: str = ""
    roles: list[str] = Field(default_factory=list)
    project: str
    runtime: str = ""
    version: str = ""
    python: str = ""
    config: str = ""
    address: str = ""
    clock_offset: float | None = None
    bus: str = ""
    bus_key: str = ""
    started_on: datetime = Field(default_factory=utcnow)
    heartbeat: datetime = Field(default_factory=utcnow)


def register(db: QueueDatabase, record: ProcessRecord) -> None:
    """Enter a process; its times are set by the server."""
    # A process that registers again still has its sessions.
    fields = {**record.model_dump(exclude={"id", "started_on", "heartbeat"}), "sessions": list(db.announced_sessions)}
    _set(db, record.id, {**_literal(fields), "started_on": _NOW, "heartbeat": _NOW}, upsert=True)
    if record.kind == "master":
        db.lost_masters.delete_one({"_id": record.host})


def heartbeat(db: QueueDatabase, owner: str, report: Report | None = None) -> bool:
    """Say that a process is alive, and what it reports.

    Returns
    -------
    bool
        False if it is not in the registry: another process evicted it, and its locks were freed.
    """
    return _set(db, owner, {**_literal(report.model_dump(exclude_unset=True) if report else {}), "heartbeat": _NOW})


def unregister(db: QueueDatabase, owner: str) -> None:
    """Remove the record of a process."""
    db.processes.delete_one({"_id": owner})


def registered(db: QueueDatabase) -> list[ProcessRecord]:
    """Return all processes of the registry, oldest first, without damaged records, which `jfr-mp admin check` names."""
    return _select(db, {})


def is_registered(db: QueueDatabase, owner: str) -> bool:
    """Return whether a process is in the registry, by its owner id."""
    return db.processes.find_one({"_id": owner}, {"_id": 1}) is not None


def living(db: QueueDatabase, lease_ttl: float) -> list[ProcessRecord]:
    """Return the processes whose last heartbeat is at most `lease_ttl` seconds ago, oldest first."""
    return _select(db, _alive(lease_ttl))


def living_ids(db: QueueDatabase, lease_ttl: float) -> set[str]:
    """Return the ids of these processes, those with a damaged record included."""
    return {str(record["_id"]) for record in db.processes.find(_alive(lease_ttl), {"_id": 1})}


def time_left(db: QueueDatabase, lease_ttl: float) -> dict[str, float]:
    """Return the seconds until the lease of each process ends; below 0 its locks may be freed."""
    ends = {"$add": ["$heartbeat", int(lease_ttl * 1000)]}
    found = db.processes.aggregate([{"$match": _HAS_TIME}, {"$project": {"left": {"$subtract": [ends, _NOW]}}}])
    return {str(record["_id"]): record["left"] / 1000 for record in found}


def expired_ids(db: QueueDatabase, lease_ttl: float, query: Mapping[str, Any]) -> list[str]:
    """Return the ids of the processes that match a query and whose last heartbeat is longer ago."""
    past = {**_HAS_TIME, "$expr": {"$lt": ["$heartbeat", seconds_ago(lease_ttl)]}}
    return [str(record["_id"]) for record in db.processes.find({"$and": [query, past]}, {"_id": 1})]


def evict_lost(db: QueueDatabase, owner: str, why: str) -> None:
    """Evict a process that was not heard of; a master is remembered until one is started on its machine."""
    record = db.processes.find_one({"_id": owner, "kind": "master"}, {"sessions": 0})
    if record is not None and isinstance(record.get("host"), str):
        db.lost_masters.replace_one({"_id": record["host"]}, {**record, "_id": record["host"]}, upsert=True)
    evict(db, owner, why)


def lost_masters(db: QueueDatabase) -> list[ProcessRecord]:
    """Return the masters that were lost in the last days."""
    recent = {"$expr": {"$gte": ["$heartbeat", seconds_ago(_REMEMBERED)]}}
    found = db.lost_masters.find(recent).sort("heartbeat", 1)
    return _records(found)


def evict(db: QueueDatabase, owner: str, why: str) -> None:
    """Free the leases and locks of a process and remove its record; if it is alive after all, its writes are fenced."""
    # The leases come first: freed locks wake up the processes that wait for both.
    free_leases(db, owner)
    if freed := free_locks(db, owner):
        logger.warning("freed %d locks of %s: %s", freed, owner, why)
    unregister(db, owner)


def evict_expired(db: QueueDatabase, *, dry_run: bool = False) -> list[str]:
    """Evict the processes whose last heartbeat is longer ago than a lease, and return their ids.

    Parameters
    ----------
    dry_run
        Whether only to return them.
    """
    dead = expired_ids(db, db.project.jfr_mp.lease_ttl, {})
    for owner in () if dry_run else dead:
        evict(db, owner, "it has not renewed its lease")
    return dead


def announce_session(db: QueueDatabase, owner: str, session: ClientSession) -> None:
    """Note the session of a process's transactions, once for each.

    The server keeps the transaction of a client that was killed for a minute, with all the documents it has written.
    The process that evicts the dead one finds the session in its record and ends the transaction at once.
    """
    session_id = session.session_id["id"]
    if session_id not in db.announced_sessions:
        db.processes.update_one({"_id": owner}, {"$addToSet": {"sessions": session_id}})
        db.announced_sessions.add(session_id)


def free_locks(db: QueueDatabase, owner: str) -> int:
    """Release all locks of a process that has died, or that has stopped to work on jobs.

    Returns
    -------
    int
        The number of documents that were locked.
    """
    _end_transactions(db, owner)
    # A range, because the id of a damaged record can be anything, which may be too long for a regular expression.
    first = f"{LOCK_PREFIX}{owner}/"
    query = {"lock_id": {"$type": "string", "$gte": first, "$lt": f"{first[:-1]}{chr(ord('/') + 1)}"}}
    collections = (db.jobs, db.flows, db.auxiliary)
    return sum(collection.update_many(query, {"$set": dict(UNLOCKED)}).modified_count for collection in collections)


def _end_transactions(db: QueueDatabase, owner: str) -> None:
    record = db.processes.find_one({"_id": owner}, {"sessions": 1}) or {}
    # A process that frees its own locks would end the very command by which it does.
    noted = record.get("sessions")
    ids = [id_ for id_ in noted if isinstance(id_, bytes)] if isinstance(noted, list) else []
    sessions = [{"id": id_} for id_ in ids if id_ not in db.announced_sessions]
    if not sessions:
        return
    try:
        db.client.admin.command("killSessions", sessions)
    except OperationFailure as error:
        logger.warning("the server ends the transactions of %s, which died, within a minute: %s", owner, error)


def _set(db: QueueDatabase, owner: str, fields: Doc, *, upsert: bool = False) -> bool:
    return bool(db.processes.update_one({"_id": owner}, [{"$set": fields}], upsert=upsert).matched_count)


def _literal(fields: Mapping[str, Any]) -> Doc:
    """Keep values from being read as expressions: an error message may begin with a dollar sign."""
    return {key: {"$literal": value} for key, value in fields.items()}


def seconds_ago(seconds: float) -> Doc:
    """Return an aggregation expression for a time by the server's clock."""
    return {"$subtract": [_NOW, int(min(seconds, _AGES) * 1000)]}


def _alive(lease_ttl: float) -> Doc:
    return {**_HAS_TIME, "$expr": {"$gte": ["$heartbeat", seconds_ago(lease_ttl)]}}


def _select(db: QueueDatabase, query: Doc) -> list[ProcessRecord]:
    return _records(db.processes.find(query).sort("started_on", 1))


def _records(documents: Iterable[Doc]) -> list[ProcessRecord]:
    """Return the records without the damaged ones: one document must not keep masters from starting."""
    found = []
    for document in documents:
        with suppress(ValidationError):
            # An earlier version did not write which machine it is: then nothing can be said of the pid.
            found.append(ProcessRecord.model_validate({"machine": "", **document, "id": document["_id"]}))
    return found
