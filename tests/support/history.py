"""What happens to the jobs of a database, as its server reports it: also what lasts for a moment only."""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from pymongo import MongoClient
from pymongo.database import Database
from pymongo.errors import PyMongoError

from jfr_mp.identity import owner_of_lock

#: Seconds that the server holds an answer back, and before it is retried when it is away.
_GLANCE = 0.2
_PIPELINE: list[dict[str, Any]] = [
    {"$match": {"operationType": {"$in": ["insert", "update"]}}},
    {
        "$project": {
            "worker": "$fullDocument.worker",
            "db_id": "$fullDocument.db_id",
            "fields": {"$ifNull": ["$updateDescription.updatedFields", {"state": "$fullDocument.state"}]},
        }
    },
]


@dataclass(frozen=True)
class Change:
    """A change of one job.

    Parameters
    ----------
    time
        When it was reported, in monotonic seconds.
    worker, db_id
        The job.
    fields
        The new values, by dotted path.
    owner
        The process of ours that holds the job, or did until this change.
    """

    time: float
    worker: str
    db_id: str
    fields: Mapping[str, Any]
    owner: str | None


class History:
    """A context manager that notes all changes, whatever outages there are; it needs a replica set.

    Parameters
    ----------
    uri
        The server.
    database
        The database with the collection `jobs`.
    """

    def __init__(self, uri: str, database: str) -> None:
        self.changes: list[Change] = []
        self._client: MongoClient[dict[str, Any]] = MongoClient(uri, serverSelectionTimeoutMS=1000)
        self._jobs = self._client[database]["jobs"]
        self._watching = threading.Event()
        self._ending = threading.Event()
        self._token: Mapping[str, Any] | None = None
        self._owners: dict[str, str | None] = {}
        self._thread = threading.Thread(target=self._run, name="history", daemon=True)

    def states(self) -> set[str]:
        """Return all states into which any job came."""
        return {change.fields["state"] for change in tuple(self.changes) if "state" in change.fields}

    def attempts(self) -> list[int]:
        """Return all numbers of attempts that were ever written, but for zeros."""
        written = (change.fields.get("remote.step_attempts") for change in tuple(self.changes))
        return [attempts for attempts in written if attempts]

    def moved(
        self, since: float, states: Collection[str], workers: Collection[str], not_by: Collection[str] = ()
    ) -> Change | None:
        """Return the first change since a monotonic time that brought a job of these workers into one of these states.

        Parameters
        ----------
        not_by
            Processes whose work does not count.
        """
        for change in self.changes[bisect_right(self.changes, since, key=lambda change: change.time) :]:
            moved = change.fields.get("state") in states and change.worker in workers
            if moved and change.owner not in not_by:
                return change
        return None

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._watching.wait(30), "the server reports no changes"
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        self._ending.set()
        self._thread.join()
        self._client.close()

    def _run(self) -> None:
        while not self._ending.is_set():
            try:
                self._watch()
            except PyMongoError:
                self._ending.wait(_GLANCE)

    def _watch(self) -> None:
        with self._jobs.watch(
            _PIPELINE, "updateLookup", resume_after=self._token, max_await_time_ms=int(_GLANCE * 1000)
        ) as stream:
            self._watching.set()
            while not self._ending.is_set():
                change = stream.try_next()
                self._token = stream.resume_token
                if change is not None:
                    self._note(change["fields"], worker=change.get("worker", ""), db_id=change.get("db_id", ""))

    def _note(self, fields: Mapping[str, Any], worker: str, db_id: str) -> None:
        if lock_id := fields.get("lock_id"):
            self._owners[db_id] = owner_of_lock(lock_id)
        self.changes.append(Change(time.monotonic(), worker, db_id, fields, self._owners.get(db_id)))


class Heartbeats:
    """A context manager that notes the heartbeats of masters: a clock that goes slower while the machine is busy.

    Parameters
    ----------
    db
        The queue database.
    """

    def __init__(self, db: Database[dict[str, Any]]) -> None:
        self._processes = db["jfr_mp_processes"]
        self._seen: dict[tuple[str, Any], float] = {}
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeats", daemon=True)

    def between(self, begin: float, end: float) -> int:
        """Return how many there were between two monotonic times."""
        return sum(begin < moment < end for moment in tuple(self._seen.values()))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        self._ending.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ending.wait(_GLANCE):
            for record in self._processes.find({"kind": "master"}, {"heartbeat": 1}):
                self._seen.setdefault((record["_id"], record["heartbeat"]), time.monotonic())
