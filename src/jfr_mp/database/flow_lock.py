"""Keeping other writers of a flow away while the states of its jobs change, at the same cost for a flow of any size."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, NoReturn

from jfr_mp.database.locks import UNLOCKED
from jfr_mp.errors import FlowLockedError, FlowMissing
from jfr_mp.model import utcnow

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession

    from jfr_mp.database.connection import Doc, QueueDatabase

logger = logging.getLogger(__name__)

#: The field of a flow that each of its writers sets, and the age at which its `updated_on` is written, too.
COMPLETING, _TOUCH_EVERY = "jfr_mp_completing", timedelta(seconds=5)


@contextmanager
def locked_flow(
    db: QueueDatabase,
    uuid: str,
    lock_id: str,
    session: ClientSession | None,
    *,
    held: str | None = None,
    break_lock: bool = False,
) -> Iterator[str]:
    """Keep other writers of a flow away, and yield the state of the flow.

    Within a transaction a lock would not be visible to other processes: one write to the flow, which conflicts with
    theirs, does the same with half the work. It changes a field without an index, in place, so that it costs the same
    in a flow of any size. Locks of jobflow-remote, and of processes without transactions, are respected.

    Parameters
    ----------
    uuid
        The flow.
    lock_id
        The id of the lock, if one is needed.
    session
        The session of a transaction; None without one.
    held
        The id of a lock on the flow that the caller holds, and that stays.
    break_lock
        Whether to remove the lock of another process.

    Raises
    ------
    FlowLockedError
        Another process holds the lock.
    FlowMissing
        There is no such flow.
    """
    free: Doc = {"uuid": uuid, "lock_id": held}
    now = utcnow()
    mark: Doc = {"$set": {COMPLETING: now}}
    locks = session is None and held is None
    if locks:
        # With the lock of this very write, whose answer was lost before it was repeated, it is free as well.
        free["lock_id"] = {"$in": [None, lock_id]}
        mark = {"$set": {"lock_id": lock_id}, "$currentDate": {"lock_time": True}}
    if break_lock:
        del free["lock_id"]
        if not locks:
            mark["$set"].update(UNLOCKED)
    flow = db.flows.find_one_and_update(free, mark, projection={"state": 1, "updated_on": 1}, session=session)
    if flow is None:
        _refuse(db, uuid, session)
    if flow.get("updated_on") is None or now - flow["updated_on"].replace(tzinfo=UTC) > _TOUCH_EVERY:
        # With an index on it, this writes the whole document, with all jobs of the flow.
        db.flows.update_one({"uuid": uuid}, {"$set": {"updated_on": now}}, session=session)
    if not locks:
        yield str(flow["state"])
        return
    try:
        yield str(flow["state"])
    finally:
        _unlock(db, uuid, lock_id)


def _unlock(db: QueueDatabase, uuid: str, lock_id: str) -> None:
    result = db.flows.update_one({"uuid": uuid, "lock_id": lock_id}, {"$set": dict(UNLOCKED)})
    if not result.matched_count:
        logger.warning("the lock %s on flow %s was lost", lock_id, uuid)


def _refuse(db: QueueDatabase, uuid: str, session: ClientSession | None) -> NoReturn:
    flow = db.flows.find_one({"uuid": uuid}, {"lock_id": 1, "lock_time": 1}, session=session)
    if flow is None:
        raise FlowMissing(f"flow {uuid} was deleted from the database {db.db.name} but its job was not: delete the job")
    raise FlowLockedError(f"flow {uuid} is locked by {flow.get('lock_id')} since {flow.get('lock_time')} UTC")
