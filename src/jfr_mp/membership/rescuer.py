"""Which members have died, and when that is certain enough to free what they held."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from jfr_mp.database import processes
from jfr_mp.database.stale_locks import free_stale_locks, stale_locks

if TYPE_CHECKING:
    from jfr_mp.database.connection import QueueDatabase


#: The least number of sweeps in the time of a lease, so that an interruption is noticed.
_SWEEPS = 2
#: Leases between two looks for locks without a holder, of a process whose master looks for them in each lease.
_RARELY = 4
#: Seconds between the end of a lease and the sweep that finds it.
_LATER = 0.05


class Rescuer:
    """Frees what dead members left, as seen by one process.

    While the database is down no heartbeat arrives, so every process seems to have died. Nothing is freed before this
    process has had answers for a whole lease, which is time enough for every living process to renew its own.

    Parameters
    ----------
    db
        The queue database.
    clock
        Monotonic time in seconds.
    rarely
        Whether another process of this machine looks for locks without a holder, so that this one need not do so often.
    """

    def __init__(self, db: QueueDatabase, clock: Callable[[], float] = time.monotonic, *, rarely: bool = False) -> None:
        self._db = db
        self._clock = clock
        options = db.project.jfr_mp
        self._lease_ttl = options.lease_ttl
        self._locks_every = options.lease_ttl * (_RARELY if rarely else 1)
        #: A longer time between two answers means that the database was down, or that this process was suspended.
        self._longest_silence = options.lease_ttl / 2 + options.heartbeat_interval
        self._contact_since: float | None = None
        self._last_contact = 0.0
        self._locks_due = clock() + self._locks_every if rarely else 0.0

    def sweep(self) -> float:
        """Evict the members whose lease has run out, and at times break the locks without a holder.

        Returns
        -------
        float
            Seconds until the next sweep is due: it comes as soon as a lease can have run out.
        """
        # If the next query raises, the contact is interrupted.
        since, self._contact_since = self._contact_since, None
        left = processes.time_left(self._db, self._lease_ttl)
        now = self._clock()
        silent = now - self._last_contact > self._longest_silence
        self._contact_since, self._last_contact = now if since is None or silent else since, now
        if (missing := self._contact_since + self._lease_ttl - now) > 0:
            return min(missing, self._lease_ttl / _SWEEPS)
        for owner, seconds in left.items():
            if seconds < 0:
                processes.evict_lost(self._db, owner, f"no heartbeat for {self._lease_ttl:g} s")
        if now >= self._locks_due:
            self._locks_due = now + self._locks_every
            free_stale_locks(self._db, stale_locks(self._db))
        return min([self._lease_ttl / _SWEEPS, *(seconds + _LATER for seconds in left.values() if seconds >= 0)])


def evict_dead_here(db: QueueDatabase) -> None:
    """Evict the members on this machine whose process is gone, without waiting for their leases."""
    for record in processes.registered(db):
        if record.is_local and not record.alive:
            processes.evict(db, record.id, "its process is gone")
