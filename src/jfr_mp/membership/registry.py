"""The registry as one member uses it: how it enters, renews its lease, evicts dead processes and leaves."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

from jfr_mp.database import bus_keys, orders, processes
from jfr_mp.database.setup import ensure_initialised
from jfr_mp.errors import AlreadyRunning
from jfr_mp.membership import peer
from jfr_mp.membership.rescuer import Rescuer, evict_dead_here
from jfr_mp.membership.split import check_split

if TYPE_CHECKING:
    from jfr_mp.bus.messages import CommandReply
    from jfr_mp.database.connection import QueueDatabase
    from jfr_mp.database.orders import MasterOrder
    from jfr_mp.database.processes import ProcessRecord, Report

#: Seconds after which an order is not carried out any more.
ORDER_LIFETIME = 600.0


class Registry(Protocol):
    """What a `Member` does in the registry. Any method may take long, or raise."""

    def enter(self) -> None:
        """Register this process, for the first time or again."""

    def beat(self, report: Report) -> bool:
        """Renew the lease, with a report; return False if this process is not in the registry."""

    def look_after_others(self) -> float:
        """Free what dead members left; return the seconds after which to look again."""

    def evict(self, owner: str) -> None:
        """Free what another process held that is known to have exited."""

    def take_orders(self) -> list[MasterOrder]:
        """Take the commands that came for this process through the database."""

    def answer(self, order: MasterOrder, reply: CommandReply) -> None:
        """Write the reply to one of them."""

    def leave(self) -> None:
        """Remove this process, and free what it holds."""


class RoleRegistry:
    """The registry as a role process uses it, or a runner without a master.

    Parameters
    ----------
    db
        The queue database.
    record
        This process.
    has_master
        Whether a master has started it, which breaks stale locks as well.
    """

    def __init__(self, db: QueueDatabase, record: ProcessRecord, *, has_master: bool = False) -> None:
        self._db = db
        self._record = record
        self._rescuer = Rescuer(db, rarely=has_master)

    def enter(self) -> None:
        """Register this process."""
        processes.register(self._db, self._record)

    def beat(self, report: Report) -> bool:
        """Renew the lease."""
        return processes.heartbeat(self._db, self._record.id, report)

    def look_after_others(self) -> float:
        """Evict the members whose leases have run out."""
        return self._rescuer.sweep()

    def evict(self, owner: str) -> None:
        """Free the locks and leases of a process that has exited, now and not when its lease runs out."""
        processes.evict(self._db, owner, "its process has exited")

    def take_orders(self) -> list[MasterOrder]:
        """Return nothing: only masters are commanded."""
        return []

    def answer(self, order: MasterOrder, reply: CommandReply) -> None:
        """Write the reply to an order."""
        orders.answer(self._db, order, done=reply.done, text=reply.text)

    def leave(self) -> None:
        """Free what this process holds and remove its record."""
        processes.evict(self._db, self._record.id, "it leaves")


class MasterRegistry(RoleRegistry):
    """The registry as a master uses it, which also speaks for its machine and to jobflow-remote.

    Parameters
    ----------
    db
        The queue database, by a connection of its own, which `leave` closes.
    record
        This process.
    """

    def __init__(self, db: QueueDatabase, record: ProcessRecord) -> None:
        super().__init__(db, record)
        self._ping_due = 0.0
        self._machine_due = 0.0
        self._forget_due = 0.0
        #: The public keys that the bus between machines admits, and the masters that it leads to, as last read.
        self.bus_keys: frozenset[str] = frozenset()
        self.elsewhere: list[ProcessRecord] = []
        self._entered = False

    def enter(self) -> None:
        """Clean up after the dead of this machine, and register this master.

        Raises
        ------
        AlreadyRunning
            If another kind of runner works on this database, or a master of this machine has one of the roles: one
            whose directory was deleted is found here only.
        SplitRefused
            If the roles of this master cannot be divided from those on other machines.
        DatabaseError
            If the database cannot be reached or refuses the operation.
        """
        ensure_initialised(self._db)
        evict_dead_here(self._db)
        if not self._entered:
            self._refuse_second()
            check_split(self._db, self._record.roles)
        self._entered = True
        self._read_bus()
        peer.admit(self._db, self._record)

    def _refuse_second(self) -> None:
        mine = self._record
        for other in processes.living(self._db, self._db.project.jfr_mp.lease_ttl):
            shared = sorted(set(mine.roles) & set(other.roles))
            is_beside = other.kind == "master" and other.runtime == mine.runtime and other.is_local and other.alive
            if is_beside and shared and other.id != mine.id:
                raise AlreadyRunning(
                    f"project {mine.project}: a master on this machine (pid {other.pid}) already has the roles "
                    f"{', '.join(shared)}; its directory in {mine.runtime} is missing; if `jfr-mp status` still "
                    f"does not show it after some seconds, end it with `kill {other.pid}`"
                )

    def look_after_others(self) -> float:
        """Evict the dead, those of this machine at once, and ping where jobflow-remote looks for a runner."""
        pause = super().look_after_others()
        now = time.monotonic()
        if now >= self._ping_due:
            self._ping_due = now + self._db.project.runner.delay_ping_db
            peer.ping(self._db, self._record)
        # The role processes of a master that was killed exit after it, perhaps when this one has started already.
        if now >= self._machine_due:
            self._machine_due = now + self._db.project.jfr_mp.lease_ttl
            evict_dead_here(self._db)
        return pause

    def take_orders(self) -> list[MasterOrder]:
        """Take the orders for this master, and remove orders that have expired."""
        if (now := time.monotonic()) >= self._forget_due:
            self._forget_due = now + ORDER_LIFETIME
            orders.forget_old(self._db, ORDER_LIFETIME)
        self._read_bus()
        return orders.take(self._db, self._record.id, ORDER_LIFETIME)

    def _read_bus(self) -> None:
        options = self._db.project.jfr_mp
        if options.bus is not None:
            self.bus_keys = bus_keys.admitted(self._db)
            living = processes.living(self._db, options.lease_ttl)
            self.elsewhere = [other for other in living if other.bus and not other.is_local]

    def leave(self) -> None:
        """Remove this master and close the connection."""
        peer.withdraw(self._db, self._record.id)
        super().leave()
        self._db.close()
