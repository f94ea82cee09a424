"""Changes of jobs as the server reports them, from any process on any machine."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from bson.int64 import Int64

from jfr_mp.database.faults import TRANSIENT
from jfr_mp.states import JobState

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession

    from jfr_mp.database.connection import Doc, QueueDatabase


class StateChanges:
    """Wait for jobs that enter certain states, or whose lock is freed in the state in which they are.

    This requires a server that supports transactions; all such servers have change streams. The batches of the stream
    are read by commands, because pymongo hands out one change at a time, and a caller that is late wants all of them.

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
        self._session: ClientSession | None = None
        self._cursor: Int64 | None = None

    def wait(self, timeout: float) -> frozenset[JobState]:
        """Return the states that jobs have entered since the last call, at once or after `timeout` seconds at most.

        These are all states after the first call, after an error, which ends the change stream, and if the lock of a
        job was freed, for instance because its process has died: the server does not tell the state of such a job.
        """
        try:
            if self._cursor is None:
                self._open()
                return self._states
            more = {"getMore": self._cursor, "collection": self._db.jobs.name, "maxTimeMS": int(timeout * 1000)}
            return self._states_of(self._command(more))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Stop watching."""
        cursor, self._cursor = self._cursor, None
        session, self._session = self._session, None
        if session is None:
            return
        try:
            if cursor is not None:
                self._db.db.command({"killCursors": self._db.jobs.name, "cursors": [cursor]}, session=session)
            session.end_session()
        except TRANSIENT:
            return

    def _open(self) -> None:
        self._session = self._db.client.start_session()
        reply = self._command({"aggregate": self._db.jobs.name, "pipeline": self._pipeline, "cursor": {}})
        self._cursor = Int64(reply["cursor"]["id"])

    def _command(self, command: Doc) -> Doc:
        reply: Doc = self._db.db.command(command, session=self._session)
        return reply

    def _states_of(self, reply: Doc) -> frozenset[JobState]:
        entered = [change.get("state") for change in reply["cursor"]["nextBatch"]]
        return self._states if None in entered else frozenset(JobState(state) for state in entered)


def _pipeline(states: list[str]) -> list[dict[str, Any]]:
    """Return the query for the server: only the new state, because documents may be large."""
    wanted = {"$in": states}
    entered = [{"fullDocument.state": wanted}, {"updateDescription.updatedFields.state": wanted}]
    freed = {
        "updateDescription.updatedFields.lock_id": {"$type": "null"},
        "updateDescription.updatedFields.state": {"$exists": False},
    }
    return [
        {"$changeStream": {}},
        {"$match": {"$or": [*entered, freed]}},
        {"$project": {"state": {"$ifNull": ["$updateDescription.updatedFields.state", "$fullDocument.state"]}}},
    ]
