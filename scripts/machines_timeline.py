"""What the server has written when: the moves of jobs, leases and the registry, for `scripts/machines.py`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.support.projects import TestProject

_COLLECTIONS = ["jobs", "jfr_mp_processes", "jfr_mp_leases"]
#: Heartbeats, which are updates of the registry, are left out.
_PIPELINE = [
    {
        "$match": {
            "ns.coll": {"$in": _COLLECTIONS},
            "$nor": [{"ns.coll": "jfr_mp_processes", "operationType": {"$ne": "delete"}}],
        }
    }
]


@dataclass(frozen=True)
class Change:
    """A change that the server has logged."""

    at: datetime
    collection: str
    kind: str
    id: Any
    fields: dict[str, Any]


class Timeline:
    """The changes since this object was made, by the server's log and clock."""

    def __init__(self, project: TestProject) -> None:
        self._stream = project.db.watch(_PIPELINE, max_await_time_ms=200)
        self.changes: list[Change] = []

    def read(self) -> None:
        """Read the changes until there are no more."""
        while (event := self._stream.try_next()) is not None:
            fields = event.get("updateDescription", {}).get("updatedFields") or event.get("fullDocument") or {}
            kind, where = event["operationType"], event["ns"]["coll"]
            self.changes.append(Change(event["wallTime"], where, kind, event["documentKey"]["_id"], fields))

    def forgotten(self, owner: str) -> datetime | None:
        """Return when a process was removed from the registry."""
        found = (each.at for each in self.changes if each.collection == "jfr_mp_processes" and each.id == owner)
        return next(found, None)

    def taken(self, lease: str, owner: str) -> datetime | None:
        """Return when a lease went to another process than `owner`."""
        theirs = (each for each in self.changes if each.collection == "jfr_mp_leases" and each.id == lease)
        return next((each.at for each in theirs if each.fields.get("owner", owner) != owner), None)

    def moves(self, since: datetime, *states: str, job: Any = None) -> Iterator[datetime]:
        """Yield when a job entered one of these states; without any, when its state changed."""
        for each in self.changes:
            state = each.fields.get("state")
            wanted = state in states if states else state is not None
            moved = each.collection == "jobs" and each.kind != "insert" and wanted
            if moved and each.at >= since and job in (None, each.id):
                yield each.at

    def longest_pause(self, since: datetime, until: datetime, *states: str) -> float:
        """Return the longest time in seconds in which no job entered one of these states."""
        times = [since, *(at for at in self.moves(since, *states) if at <= until)]
        return max((later - earlier).total_seconds() for earlier, later in zip(times, [*times[1:], until], strict=True))
