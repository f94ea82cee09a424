"""Changes of jobs as the server reports them, from any process on any machine."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from jfr_mp.states import JobState

if TYPE_CHECKING:
    from pymongo.change_stream import CollectionChangeStream

    from jfr_mp.database.connection import Doc, QueueDatabase


class StateChanges:
    """Wait for jobs that enter certain states, or whose lock is freed in the state in which they are.

    This requires a server that supports transactions; all such servers have change streams.

    Parameters
    ----------
    db
        The queue database.
    states
        The states to wait for.
    """

    def __init__(self, db: QueueDatabase, states: Iterable[JobState]) -> None:
        self._db = db
        self._states = frozenset(states)
        self._pipeline = _pipeline(sorted(state.value for state in self._states))
        self._stream: CollectionChangeStream[Doc] | None = None

    def wait(self, timeout: float) -> frozenset[JobState]:
        """Return the state that the next job has entered, or none after `timeout` seconds.

        These are all states if the lock of a job was freed, for instance because its process has died: the server does
        not tell the state of such a job. The first call opens the change stream. After an error, the next call opens it
        again.
        """
        if self._stream is None:
            self._stream = self._db.jobs.watch(self._pipeline, max_await_time_ms=int(timeout * 1000))
        try:
            change = self._stream.try_next()
        except BaseException:
            self.close()
            raise
        if change is None:
            return frozenset()
        return frozenset([JobState(change["state"])]) if change.get("state") else self._states

    def close(self) -> None:
        """Stop watching."""
        if self._stream is not None:
            stream, self._stream = self._stream, None
            stream.close()


def _pipeline(states: list[str]) -> list[dict[str, Any]]:
    """Return the query for the server: only the new state, because documents may be large."""
    wanted = {"$in": states}
    entered = [{"fullDocument.state": wanted}, {"updateDescription.updatedFields.state": wanted}]
    freed = {
        "updateDescription.updatedFields.lock_id": {"$type": "null"},
        "updateDescription.updatedFields.state": {"$exists": False},
    }
    return [
        {"$match": {"$or": [*entered, freed]}},
        {"$project": {"state": {"$ifNull": ["$updateDescription.updatedFields.state", "$fullDocument.state"]}}},
    ]
