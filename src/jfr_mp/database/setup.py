"""Preparing the queue database: what has to be there before the first flow, and the reset."""

from __future__ import annotations

import logging
from datetime import datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from pymongo.errors import DuplicateKeyError

from jfr_mp.database.indexes import ensure_indexes

if TYPE_CHECKING:
    from jfr_mp.database.connection import QueueDatabase

logger = logging.getLogger(__name__)

#: The layout that we write, in the words of jobflow-remote, which looks at it before it uses a database.
LAYOUT_VERSION = "1.0.1"


def ensure_initialised(db: QueueDatabase) -> None:
    """Create the auxiliary documents and indexes that are missing; nothing that exists is changed.

    Any number of processes may do this at the same time.
    """
    for key, fields in _auxiliary_documents().items():
        # The fixed _id lets the second of two concurrent insertions fail, where only the field's presence would not.
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
            # jobflow-remote compares the packages listed here with its own environment, which is not ours to describe.
            "full_environment": {},
        },
    }


def reset(db: QueueDatabase, *, max_limit: int = 25, validation: str | None = None) -> bool:
    """Delete all jobs, flows and batches and prepare the database anew; outputs in the JobStore stay.

    Parameters
    ----------
    max_limit
        With this many flows or more, nothing is deleted unless `validation` is given; 0 means no limit.
    validation
        Today's date, YYYY-MM-DD.

    Returns
    -------
    bool
        False when the number of flows forbade it.
    """
    flows = db.flows.count_documents({}) if max_limit else 0
    if max_limit and flows >= max_limit and validation != datetime.now().strftime("%Y-%m-%d"):
        logger.warning(
            "the database holds %d flows and was not reset; pass today's date (YYYY-MM-DD) or another max_limit", flows
        )
        return False
    for collection in (db.jobs, db.flows, db.auxiliary, db.batches):
        collection.drop()
    ensure_initialised(db)
    return True
