"""What the documents of jobs tell about what has happened to them, where no log of the server does.

A document has the times at which its job was created, started, ended and last updated. The states between are missing.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

from pymongo.errors import OperationFailure

from jfr_mp.database.field_types import IS_DATE, fields, text, utc
from jfr_mp.database.flow_lookup import reported_flows
from jfr_mp.database.job_events import JobEvent, identity_of, uuid_and_hosts
from jfr_mp.errors import InvalidQuery
from jfr_mp.states import JobState

if TYPE_CHECKING:
    from bson.timestamp import Timestamp

    from jfr_mp.database.connection import Doc, QueueDatabase

#: Time by which the clocks of writers may differ: documents so much older than the last one are read again.
_OVERLAP = timedelta(seconds=60)
#: How many events of a server without a log are remembered, so that none is returned twice.
_REMEMBERED = 200_000
#: How many documents are read before their flows are looked up in one query.
_TOGETHER = 1000
#: Seconds between two looks at the documents.
_PAUSE = 0.5
_FIELDS = [
    *("db_id", "uuid", "index", "worker", "job.name", "job.hosts", "state", "error", "remote.error"),
    *("created_on", "start_time", "end_time", "updated_on"),
]
#: The order of what happens at the same millisecond.
_CREATED, _STARTED, _ENDED, _NOW = range(4)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

#: The time in milliseconds, the db_id and the rank among the events of the same time.
Key = tuple[int, str, int]


def history(db: QueueDatabase, after: Key, at: Timestamp | None) -> list[JobEvent]:
    """Return the events behind a key that documents tell, sorted by time.

    Parameters
    ----------
    at
        The point of the server's log at which the documents are read, so that a stream from there misses nothing and
        repeats nothing; None for a server without a log.
    """
    since = _EPOCH + timedelta(milliseconds=after[0])
    query = {"updated_on": {**IS_DATE, "$gte": since}}
    documents = db.jobs.find(query, _FIELDS) if at is None else _snapshot(db, query, at)
    readable = (job for job in documents if text(job.get("db_id")) and text(job.get("state")))
    found: list[tuple[Key, JobEvent]] = []
    while jobs := list(islice(readable, _TOGETHER)):
        flows = reported_flows(db, [uuid_and_hosts(job) for job in jobs])
        events = (pair for job, flow in zip(jobs, flows, strict=True) for pair in _events(job, flow))
        found += (pair for pair in events if pair[0] > after)
    return [event for _, event in sorted(found, key=lambda pair: pair[0])]


class PolledEvents:
    """The events of a server without a log, found by reading the documents again and again.

    States that a job has left before its document was read are missing.

    Parameters
    ----------
    db
        The queue database.
    after
        Events behind this key are returned.
    """

    def __init__(self, db: QueueDatabase, after: Key) -> None:
        self._db = db
        self._waiting = deque(history(db, after, None))
        self._latest = max(after[0], *(key_of(event)[0] for event in self._waiting), 0)
        self._states: dict[str | None, str | None] = {event.db_id: event.state for event in self._waiting}
        self.caught_up = False

    def next(self) -> JobEvent | None:
        """Return the next event, or None if there is none for half a second."""
        if not self._waiting and not self.caught_up:
            self.caught_up = True
        elif not self._waiting:
            self._poll()
            time.sleep(0 if self._waiting else _PAUSE)
        return self._waiting.popleft() if self._waiting else None

    def close(self) -> None:
        """Do nothing: nothing is kept open."""

    def _poll(self) -> None:
        since = self._latest - int(_OVERLAP / timedelta(milliseconds=1))
        for event in history(self._db, (since, "", 0), None):
            moment, _, rank = key_of(event)
            self._latest = max(self._latest, moment)
            # A start that becomes known when the job has ended would be out of order.
            if rank == _NOW and self._states.get(event.db_id, "") != event.state:
                self._waiting.append(event)
                self._states[event.db_id] = event.state
        if len(self._states) > _REMEMBERED:
            self._states.clear()


def first_key(since: datetime) -> Key:
    """Return a key before all events of a time."""
    return int((since.astimezone(UTC) - _EPOCH) / timedelta(milliseconds=1)), "", -1


def key_of_token(token: str) -> Key:
    """Return the key that a token contains.

    Raises
    ------
    InvalidQuery
        The text is not a token.
    """
    parts = token[1:].split(".", 2)
    try:
        moment, rank, db_id = parts
        return int(moment), db_id, int(rank)
    except ValueError:
        raise InvalidQuery(f"{token[:40]!r} is not a token that `jfr-mp events --json` prints") from None


def key_of(event: JobEvent) -> Key:
    """Return the place of an event of this source among all."""
    return key_of_token(event.token)


def _events(job: Doc, flow: str | None) -> Iterator[tuple[Key, JobEvent]]:
    times = {name: utc(job.get(name)) for name in ("created_on", "start_time", "end_time", "updated_on")}
    updated = times["updated_on"] or _EPOCH
    created, start, end = times["created_on"] or updated, times["start_time"], times["end_time"]
    moments: list[tuple[int, datetime, str | None]] = [(_CREATED, created, None)]
    # These times are of the clock of the worker.
    if start and created <= start <= updated and job["state"] != JobState.RUNNING.value:
        moments.append((_STARTED, start, JobState.RUNNING.value))
        if end and start <= end <= updated:
            moments.append((_ENDED, end, JobState.RUN_FINISHED.value))
    moments.append((_NOW, updated, job["state"]))
    for rank, moment, state in moments:
        yield _key(moment, job, rank), _event(job, flow, rank, moment, state)


def _key(moment: datetime, job: Doc, rank: int) -> Key:
    return int((moment - _EPOCH) / timedelta(milliseconds=1)), str(job["db_id"]), rank


def _event(job: Doc, flow: str | None, rank: int, moment: datetime, state: str | None) -> JobEvent:
    milliseconds, db_id, _ = _key(moment, job, rank)
    why = text(job.get("error")) or text(fields(job.get("remote")).get("error")) if rank == _NOW else None
    return JobEvent(
        token=f"h{milliseconds}.{rank}.{db_id}",
        time=moment,
        kind="created" if rank == _CREATED else "state",
        state=state,
        error=why if state in ("FAILED", "REMOTE_ERROR") else None,
        source="history",
        **identity_of(job, flow),
    )


def _snapshot(db: QueueDatabase, query: Doc, at: Timestamp) -> Iterator[Any]:
    """Yield documents as they were at a point of the server's log."""
    concern = {"level": "snapshot", "atClusterTime": at}
    projection = dict.fromkeys(_FIELDS, 1)
    command = {"find": db.jobs.name, "filter": query, "projection": projection, "readConcern": concern}
    with db.client.start_session(causal_consistency=False) as session:
        try:
            cursor = db.db.command(command, session=session)["cursor"]
        except OperationFailure:
            # Before MongoDB 5.0. What changes while the documents are read is then told twice.
            yield from db.jobs.find(query, _FIELDS)
            return
        yield from cursor["firstBatch"]
        while cursor["id"]:
            more = {"getMore": cursor["id"], "collection": db.jobs.name}
            cursor = db.db.command(more, session=session)["cursor"]
            yield from cursor["nextBatch"]
