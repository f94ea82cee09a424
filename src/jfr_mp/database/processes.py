"""The registry of our masters and role processes, and the locks of those that died.

A process is alive while its heartbeat is fresh by the server's clock; no client's clock takes part.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field
from pymongo.errors import OperationFailure

from jfr_mp.database.leases import free_leases
from jfr_mp.database.locks import UNLOCKED
from jfr_mp.identity import LOCK_PREFIX
from jfr_mp.model import Document, Outage, Transfer, utcnow

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession

    from jfr_mp.database.connection import Doc, QueueDatabase

logger = logging.getLogger(__name__)

#: The server's clock, in an aggregation expression.
_NOW = "$$NOW"

#: Seconds, some thirty years: an infinite age has no place in a date.
_AGES = 1e9


class ProcessRecord(Document):
    """A document of the registry.

    Parameters
    ----------
    id
        The owner, as in the locks; the document's `_id`.
    name, role
        Of a role process: "transfer-1" and "transfer".
    roles
        Of a master: the roles that it runs.
    create_time
        Seconds since the epoch, as psutil gives it: tells the process from a later one of the same pid.
    master
        Of a role process: the owner of its master.
    started_on, heartbeat
        By the server's clock.
    rows, outages, transfers
        Of a master: the status of its role processes, the hosts that they found away, and what they have been
        transferring for a while.
    """

    id: str
    kind: Literal["master", "role"]
    name: str = ""
    role: str | None = None
    roles: list[str] = Field(default_factory=list)
    host: str
    pid: int
    create_time: float
    master: str | None = None
    project: str
    started_on: datetime = Field(default_factory=utcnow)
    heartbeat: datetime = Field(default_factory=utcnow)
    state: str = "STARTING"
    rows: list[dict[str, Any]] = Field(default_factory=list)
    outages: list[Outage] = Field(default_factory=list)
    transfers: list[Transfer] = Field(default_factory=list)


def register(db: QueueDatabase, record: ProcessRecord) -> None:
    """Enter a process; its times are set by the server."""
    # A process that enters again still has its sessions.
    fields = {**record.model_dump(exclude={"id", "started_on", "heartbeat"}), "sessions": list(db.announced_sessions)}
    _set(db, record.id, {**_literal(fields), "started_on": _NOW, "heartbeat": _NOW}, upsert=True)


def heartbeat(db: QueueDatabase, owner: str, fields: Mapping[str, Any] | None = None) -> bool:
    """Say that a process is alive, and what else there is to say about it.

    Returns
    -------
    bool
        False when it is not in the registry: somebody took it for dead, and its locks are gone.
    """
    return _set(db, owner, {**_literal(fields or {}), "heartbeat": _NOW})


def unregister(db: QueueDatabase, owner: str) -> None:
    """Remove a process."""
    db.processes.delete_one({"_id": owner})


def living(db: QueueDatabase, lease_ttl: float) -> list[ProcessRecord]:
    """Return the processes whose last heartbeat is at most `lease_ttl` seconds ago, oldest first."""
    return _select(db, {"$gte": ["$heartbeat", seconds_ago(lease_ttl)]})


def expired(db: QueueDatabase, lease_ttl: float) -> list[ProcessRecord]:
    """Return the processes whose last heartbeat is longer ago: their locks may be freed."""
    return _select(db, {"$lt": ["$heartbeat", seconds_ago(lease_ttl)]})


def bury(db: QueueDatabase, owner: str, why: str) -> None:
    """Free the locks and leases of a process and forget it; one that lives on after all can write nothing any more."""
    if freed := free_locks(db, owner):
        logger.warning("freed %d locks of %s: %s", freed, owner, why)
    free_leases(db, owner)
    unregister(db, owner)


def announce_session(db: QueueDatabase, owner: str, session: ClientSession) -> None:
    """Note the session of a process's transactions, once for each.

    The server keeps a transaction whose client was killed for a minute, with all the documents it has written; whoever
    frees the locks of the dead ends it by this note.
    """
    session_id = session.session_id["id"]
    if session_id not in db.announced_sessions:
        db.processes.update_one({"_id": owner}, {"$addToSet": {"sessions": session_id}})
        db.announced_sessions.add(session_id)


def free_locks(db: QueueDatabase, owner: str) -> int:
    """Release all locks of a process that is dead, or that holds none to its own knowledge.

    Returns
    -------
    int
        The number of documents that were locked.
    """
    _end_transactions(db, owner)
    query = {"lock_id": {"$type": "string", "$regex": f"^{re.escape(f'{LOCK_PREFIX}{owner}/')}"}}
    collections = (db.jobs, db.flows, db.auxiliary)
    return sum(collection.update_many(query, {"$set": dict(UNLOCKED)}).modified_count for collection in collections)


def _end_transactions(db: QueueDatabase, owner: str) -> None:
    record = db.processes.find_one({"_id": owner}, {"sessions": 1}) or {}
    # A process that frees its own locks would end the very command by which it does.
    sessions = [{"id": id_} for id_ in record.get("sessions", ()) if id_ not in db.announced_sessions]
    if not sessions:
        return
    try:
        db.client.admin.command("killSessions", sessions)
    except OperationFailure as error:
        logger.warning("the transactions of %s, which is dead, end by themselves in a minute: %s", owner, error)


def _set(db: QueueDatabase, owner: str, fields: Doc, *, upsert: bool = False) -> bool:
    return bool(db.processes.update_one({"_id": owner}, [{"$set": fields}], upsert=upsert).matched_count)


def _literal(fields: Mapping[str, Any]) -> Doc:
    """Keep values from being read as expressions: an error message may begin with a dollar sign."""
    return {key: {"$literal": value} for key, value in fields.items()}


def seconds_ago(seconds: float) -> Doc:
    """Return an aggregation expression for a time by the server's clock."""
    return {"$subtract": [_NOW, int(min(seconds, _AGES) * 1000)]}


def _select(db: QueueDatabase, condition: Doc) -> list[ProcessRecord]:
    found = db.processes.find({"$expr": condition}).sort("started_on", 1)
    return [ProcessRecord.model_validate({**document, "id": document["_id"]}) for document in found]
