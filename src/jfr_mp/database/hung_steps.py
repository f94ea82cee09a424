"""Recording on a job that one of its steps has hung."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jfr_mp.model import utcnow
from jfr_mp.states import JobState

if TYPE_CHECKING:
    from jfr_mp.database.connection import QueueDatabase

#: How often steps of a job have hung in a row; see `jfr_mp.model.RemoteInfo.hung_steps`.
HUNG_STEPS = "remote.hung_steps"
#: The times that a step of a job may hang in a row; with the next one, the job is REMOTE_ERROR.
_MOST_RETRIES = 1


def note_hung_step(db: QueueDatabase, db_id: str, lock_id: str, why: str) -> None:
    """Record that the step that holds a lock has hung: the first time the job is retried, then it is REMOTE_ERROR.

    The lock stays, because the step may still be working; it is freed when its process is evicted. If the step ends
    after all, the new state keeps it from writing its outcome.
    """
    locked = {"db_id": db_id, "lock_id": lock_id}
    failed = [
        {
            "$set": {
                "previous_state": "$state",
                "state": JobState.REMOTE_ERROR.value,
                "remote.error": f"{why}, for the second time; find out what hangs, then retry the job",
                HUNG_STEPS: 0,
                "updated_on": utcnow(),
            }
        }
    ]
    if db.jobs.update_one({**locked, HUNG_STEPS: {"$gte": _MOST_RETRIES}}, failed).matched_count:
        return
    again = {"remote.error": f"{why}; it is tried once more", HUNG_STEPS: _MOST_RETRIES, "updated_on": utcnow()}
    db.jobs.update_one(locked, {"$set": again})
