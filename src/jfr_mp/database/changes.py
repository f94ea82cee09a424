"""Changes of job states as the server reports them, whoever made them and on whatever machine."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from jfr_mp.states import JobState

if TYPE_CHECKING:
    from pymongo.change_stream import CollectionChangeStream

    from jfr_mp.database.connection import Doc, QueueDatabase


class StateChanges:
    """Waits for jobs that come into certain states. Needs a server with transactions, which all have change streams.

    Parameters
    ----------
    db
        The queue database.
    states
        The states that are news.
    """

    def __init__(self, db: QueueDatabase, states: Iterable[JobState]) -> None:
        self._db = db
        self._pipeline = _pipeline(sorted(state.value for state in states))
        self._stream: CollectionChangeStream[Doc] | None = None

    def wait(self, timeout: float) -> JobState | None:
        """Return the state of the next job that came into one, or None when none did for `timeout` seconds.

        The first call begins to watch. After an error, the next one begins anew.
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
    """Return what is asked of the server: the new state alone, because documents may be large."""
    wanted = {"$in": states}
    return [
        {"$match": {"$or": [{"fullDocument.state": wanted}, {"updateDescription.updatedFields.state": wanted}]}},
        {"$project": {"state": {"$ifNull": ["$updateDescription.updatedFields.state", "$fullDocument.state"]}}},
    ]
