"""A thread that tells which states have new jobs, as the server reports them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Self

from pymongo.errors import PyMongoError

from jfr_mp.database.changes import StateChanges

if TYPE_CHECKING:
    from jfr_mp.database.connection import QueueDatabase
    from jfr_mp.states import JobState

logger = logging.getLogger(__name__)

#: Seconds that the server waits for a change before it answers.
_WAIT = 30.0
#: Seconds between two readings of changes: while jobs move, they come together, and the event bus is quicker anyway.
_PAUSE = 0.1
#: Seconds before a reading that failed is repeated: doubled each time, up to the second value.
_FIRST_RETRY, _LAST_RETRY = 0.5, 2.0


class News:
    """A context manager: within it, changes made anywhere are told: submissions, other machines, jobflow-remote.

    One process of a machine reads them for all: each change stream costs the server a look at each write. If the server
    reports no changes, nothing is told.

    Parameters
    ----------
    db
        The queue database. A reading may last on it for 30 seconds after the block was left.
    states
        The states that are of interest.
    tell
        Gets the states, in the thread: at first and after an interruption all of them.
    """

    def __init__(
        self, db: QueueDatabase, states: Iterable[JobState], tell: Callable[[frozenset[JobState]], None]
    ) -> None:
        self._changes = StateChanges(db, states)
        self._tell = tell
        self._closing = threading.Event()
        self._is_reported = db.supports_transactions
        self._thread = threading.Thread(target=self._run, name="news", daemon=True)

    def __enter__(self) -> Self:
        if self._is_reported:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()

    def _run(self) -> None:
        failures, pause = 0, 0.0
        while not self._closing.wait(pause):
            try:
                states = self._changes.wait(_WAIT)
            except Exception as error:  # noqa: BLE001 - the top of a thread: later changes must be told
                if self._closing.is_set():  # the connection was closed
                    return
                pause = min(_LAST_RETRY, _FIRST_RETRY * 2**failures)
                self._complain(error, is_first=not failures)
                failures += 1
                continue
            if failures:
                logger.info("the changes of jobs are read again")
            failures, pause = 0, _PAUSE if states else 0.0
            if states:
                self._tell(states)

    @staticmethod
    def _complain(error: Exception, *, is_first: bool) -> None:
        if is_first:
            unexpected = None if isinstance(error, PyMongoError) else error
            logger.warning("the changes of jobs cannot be read, retrying: %s", error, exc_info=unexpected)
