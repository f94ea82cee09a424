"""Locking one job for an update by a runner of the user, as jobflow-remote's runner does: errors are retried."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from jfr_mp.database.claims import ORDER
from jfr_mp.database.commits import update_fields
from jfr_mp.database.locks import MongoLock
from jfr_mp.model import JobDoc, utcnow
from jfr_mp.outcomes import Fail, Retry

if TYPE_CHECKING:
    from jfr_mp.config import RunnerOptions
    from jfr_mp.database.connection import Doc, QueueDatabase

logger = logging.getLogger(__name__)


@contextmanager
def lock_for_update(
    db: QueueDatabase,
    query: Mapping[str, Any],
    policy: RunnerOptions,
    failure: Callable[[Exception], Retry | Fail],
    *,
    next_step_delay: float | None = None,
    **lock_options: Any,
) -> Iterator[MongoLock]:
    """Lock the next job that matches a query and is not waiting for a retry, and yield the lock.

    On leaving, the attempts of the job are reset, and `update_on_release` of the lock is applied. If the body raises,
    the job is retried later or goes to REMOTE_ERROR instead, and the error is logged.

    Parameters
    ----------
    query
        The conditions.
    policy
        How often and when a failed job is retried.
    failure
        Returns what an error of the body means for the job.
    next_step_delay
        Seconds before the next step of the job may begin.
    **lock_options
        Further arguments for `MongoLock`.
    """
    due = {**query, "remote.retry_time_limit": {"$not": {"$gt": db.now()}}}
    with MongoLock(db.jobs, due, **{"sort": list(ORDER), **lock_options}) as lock:
        document = lock.locked_document
        try:
            yield lock
        except Exception as error:  # the body is a method of a subclass, which can raise anything
            if document is None:
                raise
            outcome = failure(error)
            logger.warning("job %s: %s", document.get("db_id"), outcome.why, exc_info=True)
            lock.update_on_release = {"$set": _failed(document, outcome, policy, db.now())}
        else:
            if document is not None:
                lock.update_on_release = _succeeded(lock.update_on_release, db.now(), next_step_delay)


def _failed(document: Doc, outcome: Retry | Fail, policy: RunnerOptions, now: datetime) -> Doc:
    # A projection of the caller may have left out the other fields.
    needed = {"state": document["state"], "remote": document.get("remote") or {}}
    job = JobDoc.model_validate({"job": {}, "uuid": "", "index": 1, "db_id": "", "worker": "", **needed})
    return {**update_fields(job, outcome, policy, now), "updated_on": utcnow()}


def _succeeded(wanted: Any, now: datetime, next_step_delay: float | None) -> Any:
    """Return the update that a body wants, with the fields that begin the next step."""
    until = now + timedelta(seconds=next_step_delay) if next_step_delay else None
    news: Doc = {
        "remote.step_attempts": 0,
        "remote.retry_time_limit": until,
        "remote.error": None,
        "updated_on": utcnow(),
    }
    if isinstance(wanted, list):
        return [*wanted, {"$set": news}]
    return {**wanted, "$set": {**news, **wanted.get("$set", {})}}
