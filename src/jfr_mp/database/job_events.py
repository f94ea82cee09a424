"""What has happened to jobs, as the server's log of changes tells it.

The change stream reports every write, in the order in which the server has made it, and can be resumed anywhere in the
server's log. If the log has been overwritten, or if the server keeps none, the times in the documents of the jobs tell
the rest: see `jfr_mp.database.event_history`.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from bson.timestamp import Timestamp
from pymongo.errors import OperationFailure

from jfr_mp.database.field_types import fields, text
from jfr_mp.database.flow_lookup import reported_flow
from jfr_mp.errors import InvalidQuery, NotFound

if TYPE_CHECKING:
    from pymongo.change_stream import CollectionChangeStream

    from jfr_mp.database.connection import Doc, QueueDatabase

#: The version of the fields of `JobEvent`; a field may be added without a new version.
VERSION = 1
#: Milliseconds for which the server waits for the next change before it answers that there is none.
_AWAIT = 500
#: How many jobs are remembered, so that only the first change of each costs a query.
_REMEMBERED = 50_000
#: ChangeStreamHistoryLost: the log has been overwritten. ChangeStreamFatalError: the same on older servers.
_HISTORY_LOST = (286, 280)
_ERROR_STATES = ("FAILED", "REMOTE_ERROR")

_IDENTITY = ("db_id", "uuid", "index", "worker", "job.name", "job.hosts")
_CHANGED = "updateDescription.updatedFields"
_PIPELINE: list[dict[str, Any]] = [
    {
        "$match": {
            "$or": [
                {"operationType": {"$in": ["insert", "replace", "delete"]}},
                {f"{_CHANGED}.state": {"$exists": True}},
            ]
        }
    },
    {
        "$project": {
            **dict.fromkeys(("operationType", "clusterTime", "wallTime", "documentKey"), 1),
            **{f"fullDocument.{name}": 1 for name in (*_IDENTITY, "state", "error")},
            **{f"{_CHANGED}.{name}": 1 for name in ("state", "error", "worker")},
        }
    },
]


@dataclass(frozen=True)
class JobEvent:
    """Something that has happened to a job.

    Parameters
    ----------
    token
        The place to resume at: the events after this one.
    time
        When it happened: by the clock of the database server, or as the document of the job tells.
    kind
        ``created``, ``state`` or ``deleted``.
    db_id, uuid, index, name, worker, flow_id
        The job; None if it was deleted before it was read.
    state
        The state that it entered; None if it was deleted.
    error
        Why it failed, for FAILED and REMOTE_ERROR.
    source
        ``stream``: one of the changes that the server has logged, none of which is missing. ``history``: derived from
        the document of the job, which tells only some of its earlier states.
    version
        The version of these fields.
    """

    token: str
    time: datetime
    kind: str
    db_id: str | None = None
    uuid: str | None = None
    index: int | None = None
    name: str | None = None
    worker: str | None = None
    flow_id: str | None = None
    state: str | None = None
    error: str | None = None
    source: str = "stream"
    version: int = VERSION

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON: the version first, the time as text in UTC."""
        return {"version": self.version, **asdict(self), "time": self.time.astimezone(UTC).isoformat()}


class HistoryLost(NotFound):
    """The server's log of changes no longer reaches back to a token or a time."""


class EventStream:
    """The changes of jobs since a point of the server's log.

    Parameters
    ----------
    db
        The queue database; its server must have change streams.
    start
        A token of an event of this stream, or the point of the log as `log_position` returns it.
    """

    def __init__(self, db: QueueDatabase, start: str | Timestamp) -> None:
        self._db = db
        self._stream: CollectionChangeStream[Doc] | None = None
        self._token: Mapping[str, Any] | None = {"_data": start[1:]} if isinstance(start, str) else None
        self._begin = None if isinstance(start, str) else start
        self._jobs: OrderedDict[Any, dict[str, Any]] = OrderedDict()
        self._end = log_position(db)
        #: Whether everything has been returned that had happened when the stream was made.
        self.caught_up = False

    def next(self) -> JobEvent | None:
        """Return the next event, or None if there is none within half a second.

        After an error of the connection, the next call continues where the last one has ended.

        Raises
        ------
        HistoryLost
            The server's log no longer reaches back to the start.
        """
        try:
            stream = self._opened()
            change = stream.try_next()
        except OperationFailure as error:
            self.close()
            if error.code in _HISTORY_LOST:
                raise HistoryLost(
                    "the log of the database server (its oplog) no longer reaches back to the token; give a time as "
                    "well (--since), from which the documents of the jobs then tell what has happened"
                ) from error
            raise
        except BaseException:
            self.close()
            raise
        self._token = stream.resume_token
        if not stream.alive:
            # The collection was dropped; it may be created again.
            self.close()
        if change is None:
            self.caught_up = self.caught_up or _reached(self._token, self._end)
            return None
        self.caught_up = self.caught_up or change["clusterTime"] > self._end
        return self._event(change)

    def close(self) -> None:
        """Stop watching; the next call of `next` begins where this one has ended."""
        if self._stream is not None:
            stream, self._stream = self._stream, None
            stream.close()

    def _opened(self) -> CollectionChangeStream[Doc]:
        if self._stream is None:
            begin = {"start_after": self._token} if self._token else {"start_at_operation_time": self._begin}
            self._stream = self._db.jobs.watch(_PIPELINE, max_await_time_ms=_AWAIT, **begin)
        return self._stream

    def _event(self, change: Doc) -> JobEvent:
        changed = change.get("updateDescription", {}).get("updatedFields", {})
        full = change.get("fullDocument") or {}
        found = {**full, **changed}
        key, kind = change["documentKey"]["_id"], change["operationType"]
        job = self._identity(key, full, known_only=kind == "delete")
        if "worker" in changed:
            job["worker"] = text(changed["worker"])
        state = text(found.get("state"))
        when = change.get("wallTime") or change["clusterTime"].as_datetime()
        return JobEvent(
            token="s" + change["_id"]["_data"],
            time=when.replace(tzinfo=UTC),
            kind={"insert": "created", "delete": "deleted"}.get(kind, "state"),
            state=state,
            error=(text(found.get("error")) or self._error(key, state)) if state in _ERROR_STATES else None,
            **job,
        )

    def _identity(self, key: Any, full: Doc, *, known_only: bool) -> dict[str, Any]:
        """Return the fields that tell which job it is, as they are remembered or as the database has them."""
        if known_only:
            return self._jobs.pop(key, {})
        if key not in self._jobs:
            found = full or self._db.jobs.find_one({"_id": key}, _IDENTITY)
            if found is None:
                return {}
            self._jobs[key] = identity_of(found, reported_flow(self._db, *uuid_and_hosts(found)))
            if len(self._jobs) > _REMEMBERED:
                self._jobs.popitem(last=False)
        return self._jobs[key]

    def _error(self, key: Any, state: str) -> str | None:
        """Return the error of the worker; None if the job has left the state since."""
        job = self._db.jobs.find_one({"_id": key, "state": state}, ["error", "remote.error"]) or {}
        return text(job.get("error")) or text(fields(job.get("remote")).get("error"))


def identity_of(document: Doc, flow_id: str | None) -> dict[str, Any]:
    """Return the fields of an event that tell which job it is."""
    return {
        **{name: text(document.get(name)) for name in ("db_id", "uuid", "worker")},
        "index": index if isinstance(index := document.get("index"), int) else None,
        "name": text(fields(document.get("job")).get("name")),
        "flow_id": flow_id,
    }


def uuid_and_hosts(document: Doc) -> tuple[str | None, Any]:
    """Return what tells the flow of a job, for `jfr_mp.database.flow_lookup.reported_flows`."""
    return text(document.get("uuid")), fields(document.get("job")).get("hosts")


def log_position(db: QueueDatabase) -> Timestamp:
    """Return the current end of the server's log."""
    position: Timestamp = db.client.admin.command("ping")["operationTime"]
    return position


def position_at(db: QueueDatabase, since: datetime) -> Timestamp:
    """Return the point of the server's log at a time, and its end for a time that has not come yet."""
    return min(Timestamp(int(since.timestamp()), 0), log_position(db))


def behind(position: Timestamp) -> Timestamp:
    """Return the point of the server's log behind another one."""
    return Timestamp(position.time, position.inc + 1)


def check_stream_token(token: str) -> str:
    """Return a token of a stream if it looks like one.

    Raises
    ------
    InvalidQuery
        It does not.
    """
    if not re.fullmatch("s82[0-9A-F]{16,}", token):
        raise InvalidQuery(f"{token[:40]!r} is not a token that `jfr-mp events --json` prints")
    return token


def _reached(token: Mapping[str, Any] | None, end: Timestamp) -> bool:
    """Return whether a resume token is behind a point of the log: its first field is the time of the log."""
    data = bytes.fromhex(str((token or {}).get("_data", "")))[:9]
    if data[:1] != b"\x82":
        return True
    return (int.from_bytes(data[1:5], "big"), int.from_bytes(data[5:9], "big")) >= (end.time, end.inc)
