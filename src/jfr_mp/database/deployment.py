"""Which roles run where in the whole deployment, as far as other processes depend on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from jfr_mp.database.field_types import texts
from jfr_mp.database.processes import seconds_ago
from jfr_mp.step_table import STEPS, Role

if TYPE_CHECKING:
    from jfr_mp.database.connection import QueueDatabase

#: Seconds for which an answer of the registry is used.
_FRESH = 1.0


class Deployment:
    """The registered processes with their roles and the places that they see; asked again after a second.

    Parameters
    ----------
    db
        The queue database.
    clock
        Monotonic time in seconds.
    """

    def __init__(self, db: QueueDatabase, clock: Callable[[], float] = time.monotonic) -> None:
        self._db = db
        self._clock = clock
        self._asked = float("-inf")
        self._members: list[tuple[frozenset[str], frozenset[str]]] = []

    def runs(self, role: Role) -> bool:
        """Return whether any living process performs a role."""
        return any(role in roles for roles, _ in self._current())

    def sees(self, role: Role, place: str) -> bool:
        """Return whether any living process that performs a role sees a place."""
        return place in self.places_of(role)

    def places_of(self, role: Role) -> Collection[str]:
        """Return the places that living processes of a role see."""
        return {place for roles, places in self._current() if role in roles for place in places}

    def places(self) -> Collection[str]:
        """Return the places that registered processes see."""
        return {place for _, places in self._current() for place in places}

    def _current(self) -> list[tuple[frozenset[str], frozenset[str]]]:
        if self._clock() - self._asked > _FRESH:
            living = {"$expr": {"$gte": ["$heartbeat", seconds_ago(self._db.project.jfr_mp.lease_ttl)]}}
            found = self._db.processes.find({"kind": "role", **living}, {"roles": 1, "places": 1})
            self._members = [
                (frozenset(texts(each.get("roles"))), frozenset(texts(each.get("places")))) for each in found
            ]
            self._asked = self._clock()
        return self._members


def count_lost_jobs(db: QueueDatabase) -> int:
    """Return the number of jobs that wait for files which no process of the registry sees."""
    states = sorted({state.value for step in STEPS if step.placed for state in step.sources})
    seen = [None, *Deployment(db).places()]
    return db.jobs.count_documents({"state": {"$in": states}, "lock_id": None, "remote.place": {"$nin": seen}})
