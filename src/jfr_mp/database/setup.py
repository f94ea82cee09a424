"""Initialising and resetting the queue database."""

from __future__ import annotations

import logging
import re
from datetime import datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import pymongo
from pymongo.errors import DuplicateKeyError

from jfr_mp.database.indexes import ensure_indexes

if TYPE_CHECKING:
    from jfr_mp.database.connection import QueueDatabase

logger = logging.getLogger(__name__)

#: The version of the layout, in jobflow-remote's terms. jobflow-remote checks it before it uses a database.
LAYOUT_VERSION = "1.0.1"


def ensure_initialised(db: QueueDatabase) -> None:
    """Create the missing auxiliary documents and indexes; existing ones are not changed.

    Any number of processes may call this at the same time.
    """
    for key, fields in _auxiliary_documents().items():
        # The fixed _id makes the second of two concurrent insertions fail; checking for the field would not.
        document = {"_id": key, **fields}
        try:
            db.auxiliary.update_one({key: {"$exists": True}}, {"$setOnInsert": document}, upsert=True)
        except DuplicateKeyError:
            logger.debug("another process created %s in %s at the same moment", key, db.auxiliary.name)
    ensure_indexes(db)


def _auxiliary_documents() -> dict[str, dict[str, Any]]:
    """Return the documents of the auxiliary collection by the field that identifies each."""
    return {
        "next_id": {"next_id": 1},
        "running_runner": {"running_runner": None},
        "runner_pings": {"runner_pings": []},
        "jobflow_remote_version": {
            "jobflow_remote_version": LAYOUT_VERSION,
            "jobflow_version": version("jobflow"),
            # jobflow-remote compares the packages listed here with its own environment, which jfr-mp does not know.
            "full_environment": {},
        },
    }


def missing_documents(db: QueueDatabase) -> list[str]:
    """Return the fields that identify the auxiliary documents which do not exist."""
    return [key for key in _auxiliary_documents() if not db.auxiliary.find_one({key: {"$exists": True}}, {"_id": 1})]


def next_number(db: QueueDatabase) -> int | None:
    """Return the number of the next db_id, or None if there is no such counter."""
    counter = db.auxiliary.find_one({"next_id": {"$exists": True}})
    return int(counter["next_id"]) if counter else None


def highest_number(db: QueueDatabase) -> int:
    """Return the highest number of all db_ids with the prefix of the project, or 0; only the index is read."""
    pattern = re.compile(rf"{re.escape(db.project.queue.db_id_prefix or '')}(\d{{1,18}})")
    found = (pattern.fullmatch(str(job.get("db_id"))) for job in db.jobs.find({}, {"db_id": 1, "_id": 0}))
    return max((int(match[1]) for match in found if match), default=0)


def raise_counter(db: QueueDatabase) -> int | None:
    """Have the next db_id follow all existing ones; return its number if it did not."""
    following = highest_number(db) + 1
    behind = {"next_id": {"$exists": True, "$lt": following}}
    return following if db.auxiliary.update_one(behind, {"$set": {"next_id": following}}).modified_count else None


#: Seconds within which the server has compacted a collection.
_COMPACT_WITHIN = 3600.0


def compact(db: QueueDatabase) -> None:
    """Let the server release the disk space of deleted jobs and flows."""
    for collection in (db.jobs, db.flows):
        # It takes longer than a connection waits for any other answer.
        with pymongo.timeout(_COMPACT_WITHIN):
            # The primary of a replica set asks for `force`, also if the server blocks nothing meanwhile.
            db.db.command("compact", collection.name, force=True)


def reset(db: QueueDatabase, *, max_limit: int = 25, validation: str | None = None) -> bool:
    """Delete all jobs, flows and batches and initialise the database again; outputs in the JobStore are kept.

    Parameters
    ----------
    max_limit
        If the database contains this many flows or more, nothing is deleted unless `validation` is given; 0 means no
        limit.
    validation
        Today's date as YYYY-MM-DD, to confirm the deletion.

    Returns
    -------
    bool
        Whether the database was reset; False if it contains too many flows.
    """
    flows = db.flows.count_documents({}) if max_limit else 0
    today = datetime.now().astimezone().strftime("%Y-%m-%d")
    if max_limit and flows >= max_limit and validation != today:
        logger.warning(
            "the database contains %d flows and was not reset; pass today's date (YYYY-MM-DD) or a higher max_limit",
            flows,
        )
        return False
    for collection in (db.jobs, db.flows, db.auxiliary, db.batches):
        collection.drop()
    ensure_initialised(db)
    return True
