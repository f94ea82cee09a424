"""What happens to jobs, as an iterator: for loops, for asyncio, and for `jfr-mp events`."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from jfr_mp.config import ConfigManager
from jfr_mp.database import event_history
from jfr_mp.database.connection import QueueDatabase
from jfr_mp.database.faults import TRANSIENT
from jfr_mp.database.job_events import (
    EventStream,
    HistoryLost,
    JobEvent,
    behind,
    check_stream_token,
    log_position,
    position_at,
)
from jfr_mp.states import JobState

logger = logging.getLogger(__name__)

#: Seconds after which a failed connection is retried.
_PAUSE = 1.0


@dataclass(frozen=True)
class EventFilter:
    """The events that satisfy all conditions; None is no condition.

    Parameters
    ----------
    states
        The states that jobs have entered.
    db_ids, flow_ids, workers
        The db_ids of the jobs, the uuids of their flows, and the names of their workers.
    """

    states: Collection[JobState] | None = None
    db_ids: Collection[str] | None = None
    flow_ids: Collection[str] | None = None
    workers: Collection[str] | None = None

    def __call__(self, event: JobEvent) -> bool:
        """Return whether an event is wanted."""
        names = None if self.states is None else {state.value for state in self.states}
        pairs = (
            (names, event.state),
            (self.db_ids, event.db_id),
            (self.flow_ids, event.flow_id),
            (self.workers, event.worker),
        )
        return all(wanted is None or value in wanted for wanted, value in pairs)


#: Selects events.
Wanted = Callable[[JobEvent], bool]
EVERY_EVENT: Wanted = EventFilter()


class EventReader:
    """Reads events, and those of the documents of the jobs first if the server's log does not reach back.

    Parameters
    ----------
    db
        The queue database.
    since
        The time of the first event; None for now.
    token
        The token of the last event that is known, to go on behind it. A time is used then only if the server's log no
        longer reaches back to the token.

    Raises
    ------
    InvalidQuery
        The token is not one.
    """

    def __init__(self, db: QueueDatabase, *, since: datetime | None = None, token: str | None = None) -> None:
        self._db = db
        self._since = since
        self._early: deque[JobEvent] = deque()
        self._source: EventStream | event_history.PolledEvents
        if token and token.startswith("h"):
            self._begin_with_history(event_history.key_of_token(token))
        elif token:
            self._source = EventStream(db, check_stream_token(token))
        elif not db.supports_transactions:
            self._begin_with_history(event_history.first_key(since or datetime.now(UTC)))
        else:
            self._source = EventStream(db, position_at(db, since) if since else log_position(db))

    @property
    def caught_up(self) -> bool:
        """Whether everything has been returned that had happened when the reader was made."""
        return not self._early and self._source.caught_up

    def next(self) -> JobEvent | None:
        """Return the next event, or None if there is none for the moment.

        Raises
        ------
        NotFound
            The server's log no longer reaches back to the token, and there is no time.
        """
        if self._early:
            return self._early.popleft()
        try:
            return self._source.next()
        except HistoryLost:
            if self._since is None:
                raise
            self._begin_with_history(event_history.first_key(self._since))
            return None

    def close(self) -> None:
        """Stop watching."""
        self._source.close()

    def _begin_with_history(self, after: event_history.Key) -> None:
        self._since = None
        if self._db.supports_transactions:
            # The documents as they were at one point of the log, and the log from there.
            position = log_position(self._db)
            self._early.extend(event_history.history(self._db, after, position))
            self._source = EventStream(self._db, behind(position))
        else:
            self._source = event_history.PolledEvents(self._db, after)


def events(
    *,
    project: str | None = None,
    follow: bool = True,
    since: datetime | None = None,
    token: str | None = None,
    wanted: Wanted = EVERY_EVENT,
) -> Iterator[JobEvent]:
    """Yield what happens to jobs.

    A database that does not answer is waited for, and nothing is missed as long as its log reaches back.

    Parameters
    ----------
    project
        The project; None for the project chosen in the settings.
    follow
        Whether to wait for further events, for ever, or to end with what has happened until now.
    since
        The time of the first event; None for now.
    token
        The `JobEvent.token` of the last event that is known, to go on behind it. A time is used then only if the
        server's log no longer reaches back to the token.
    wanted
        Selects events, such as an `EventFilter`.

    Raises
    ------
    InvalidQuery
        The token is not one.
    NotFound
        The server's log no longer reaches back to the token, and there is no time.
    """
    db = _connected(project)
    try:
        yield from read_events(EventReader(db, since=since, token=token), follow=follow, wanted=wanted)
    finally:
        db.close()


async def events_async(
    *,
    project: str | None = None,
    follow: bool = True,
    since: datetime | None = None,
    token: str | None = None,
    wanted: Wanted = EVERY_EVENT,
) -> AsyncIterator[JobEvent]:
    """Yield what happens to jobs to ``async for``; parameters and errors are those of `events`.

    The database is asked in a thread, so that the event loop goes on.
    """
    db = await asyncio.to_thread(_connected, project)
    try:
        reader = await asyncio.to_thread(EventReader, db, since=since, token=token)
        while follow or not reader.caught_up:
            event = await asyncio.to_thread(_next, reader, follow)
            if event is not None and wanted(event):
                yield event
    finally:
        db.close()


def read_events(reader: EventReader, *, follow: bool, wanted: Wanted = EVERY_EVENT) -> Iterator[JobEvent]:
    """Yield the events of a reader as `events` does, and close it."""
    try:
        while follow or not reader.caught_up:
            event = _next(reader, follow)
            if event is not None and wanted(event):
                yield event
    finally:
        reader.close()


def _next(reader: EventReader, follow: bool) -> JobEvent | None:
    """Return the next event, or None if there is none now, or no answer of the database."""
    try:
        return reader.next()
    except TRANSIENT as error:
        if not follow:
            raise
        logger.debug("the database does not answer, next attempt in %s s: %s", _PAUSE, error)
        time.sleep(_PAUSE)
        return None


def _connected(project: str | None) -> QueueDatabase:
    return QueueDatabase.connect(ConfigManager().get_project(project))
