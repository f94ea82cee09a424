"""Changes of job states as the server reports them, from any process on any machine."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from jfr_mp.states import JobState

if TYPE_CHECKING:
    from pymongo.change_stream import CollectionChangeStream

    from jfr_mp.database.connection import Doc, QueueDatabase


class StateChanges:
    """Wait for jobs that enter certain states.

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
        self._pipeline = _pipeline(sorted(state.value for state in states))
        self._stream: CollectionChangeStream[Doc] | None = None

    def wait(self, timeout: float) -> JobState | None:
        """Return the state of the next job that entered one of the states, or None after `timeout` seconds.

        The first call opens the change stream. After an error, the next call opens it again.
        """
        if self._stream is None:
            self._stream = self._db.jobs.watch(self._pipeline, max_await_time_ms=int(timeout * 1000))
        try:
            change = self._stream.try_next()
        except BaseException:
            self.close()
            raise
        return JobState(change["state"]) if change else None

    def close(self) -> None:
        """Stop watching."""
        if self._stream is not None:
            stream, self._stream = self._stream, None
            stream.close()


def _pipeline(states: list[str]) -> list[dict[str, Any]]:
    """Return the query for the server: only the new state, because documents may be large."""
    wanted = {"$in": states}
    return [
        {"$match": {"$or": [{"fullDocument.state": wanted}, {"updateDescription.updatedFields.state": wanted}]}},
        {"$project": {"state": {"$ifNull": ["$updateDescription.updatedFields.state", "$fullDocument.state"]}}},
    ]
