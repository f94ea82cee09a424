"""The first causes of a job that waits: its parents are followed up to the jobs that wait for no other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from jfr_mp.database import queries
from jfr_mp.diagnosis.facts import Cause, Parent
from jfr_mp.states import JobState

if TYPE_CHECKING:
    from jfr_mp.database.connection import QueueDatabase
    from jfr_mp.database.queries import LatestJob

#: The depth to which a chain is followed: levels, each of which is one query, and jobs in total.
MAX_LEVELS, MAX_JOBS = 500, 10_000


class _Blocker(NamedTuple):
    """A job that blocks another one, and the parent of the explained job through which it does."""

    parent: Parent
    found: LatestJob | None
    through: Parent

    @property
    def waits(self) -> bool:
        return self.parent.state is JobState.WAITING

    def cause(self, *, beyond: bool = False) -> Cause:
        return Cause(self.parent, self.through, beyond)


def causes_of(db: QueueDatabase, waiting: LatestJob) -> Iterator[Cause]:
    """Return the first job of each chain that a waiting job waits for; each job once."""
    found = queries.latest_jobs(db, waiting.parents)
    level = list(_blockers(waiting, found, None))
    seen = {blocker.parent.uuid for blocker in level}
    for _ in range(MAX_LEVELS):
        yield from (blocker.cause() for blocker in level if not blocker.waits)
        level = [blocker for blocker in level if blocker.waits]
        if not level or len(seen) > MAX_JOBS:
            break
        found = queries.latest_jobs(db, {uuid for blocker in level for uuid in _parents(blocker)})
        above: list[_Blocker] = []
        for blocker in level:
            its = list(_blockers(blocker.found, found, blocker.through))
            if not its:
                # Its parents are done, but no process has made it READY.
                yield blocker.cause()
            above += [each for each in its if each.parent.uuid not in seen]
            seen |= {each.parent.uuid for each in its}
        level = above
    yield from (blocker.cause(beyond=True) for blocker in level)


def _parents(blocker: _Blocker) -> Sequence[str]:
    return blocker.found.parents if blocker.found else ()


def _blockers(waiting: LatestJob | None, found: Mapping[str, LatestJob], through: Parent | None) -> Iterator[_Blocker]:
    """Return the parents of a job in which it may not start."""
    for uuid in waiting.parents if waiting else ():
        latest = found.get(uuid)
        parent = Parent.of(uuid, latest.job if latest else None)
        if waiting and parent.state not in waiting.enough:
            yield _Blocker(parent, latest, through or parent)
