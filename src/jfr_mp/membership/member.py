"""A member of the deployment: a thread that keeps this process in the registry, whatever the rest of it does."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Self

from jfr_mp.database.faults import TRANSIENT
from jfr_mp.database.processes import Report
from jfr_mp.errors import JfrMpError
from jfr_mp.membership.records import master_record, role_record
from jfr_mp.membership.registry import MasterRegistry, Registry, RoleRegistry

if TYPE_CHECKING:
    from jfr_mp.bus.messages import CommandReply
    from jfr_mp.config.options import JfrMpOptions
    from jfr_mp.database.connection import QueueDatabase
    from jfr_mp.database.orders import MasterOrder
    from jfr_mp.step_table import Role

logger = logging.getLogger(__name__)

#: Seconds before what failed is retried.
_RETRY_AFTER = 1.0
#: Seconds that leaving may take.
_LEAVE_WITHIN = 10.0

#: What goes wrong with a database, as opposed to an error of the program, whose traceback is logged.
_EXPECTED = (*TRANSIENT, JfrMpError)


class Member:
    """A context manager: within it this process is a member of the deployment, and its lease is renewed.

    Only entering waits for the database. From then on a thread of its own talks to it, so that neither a database that
    hangs nor a long step keeps the other from going on. A process that is suspended renews nothing, and loses its locks
    when its lease runs out.

    Parameters
    ----------
    registry
        The registry of the database; after `enter` only the thread uses it.
    options
        How often the lease is renewed, and how long it lasts.
    """

    def __init__(self, registry: Registry, options: JfrMpOptions) -> None:
        self._registry = registry
        self._interval = options.heartbeat_interval
        self._lease_ttl = options.lease_ttl
        self._report: Callable[[], Report] = Report
        self._chores: deque[Callable[[], None]] = deque()
        self._orders: deque[MasterOrder] = deque()
        self._due = threading.Event()
        self._leaving = False
        self._left = False
        self._entered_at = math.inf
        self._renewed_at = -math.inf
        self._look_due = 0.0
        self._problem: str | None = None
        self._thread = threading.Thread(target=self._run, name="member", daemon=True)

    @classmethod
    def master(cls, db: QueueDatabase, owner: str, roles: Iterable[Role]) -> Self:
        """Make this process, as a master, a member; the connection is closed when it leaves."""
        return cls(MasterRegistry(db, master_record(db, owner, roles)), db.project.jfr_mp)

    @classmethod
    def role_process(
        cls, db: QueueDatabase, owner: str, name: str, roles: Iterable[Role], places: Iterable[str] = (), **how: bool
    ) -> Self:
        """Make this process a member that plays roles and sees places: a role process, or a runner without a master.

        Parameters
        ----------
        how
            See `RoleRegistry`.
        """
        return cls(RoleRegistry(db, role_record(db, owner, name, roles, places), **how), db.project.jfr_mp)

    def __enter__(self) -> Self:
        self.enter()
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def enter(self) -> None:
        """Register this process and begin to renew its lease; raises what the registry raises."""
        self._register()
        self._thread.start()

    def report(self, report: Report) -> None:
        """Set what this and later heartbeats say of the process; does not wait."""
        self._report = lambda: report

    def reports(self, source: Callable[[], Report]) -> None:
        """Set what makes the report of each heartbeat; the thread of this member calls it."""
        self._report = source

    def evict(self, owner: str) -> None:
        """Have the locks of a process that has exited freed at once, before its lease runs out; does not wait."""
        self._chores.append(partial(self._registry.evict, owner))
        self._due.set()

    def new_orders(self) -> Iterator[MasterOrder]:
        """Yield the commands that have come for this process through the database; does not wait."""
        while self._orders:
            yield self._orders.popleft()

    def answer(self, order: MasterOrder, reply: CommandReply) -> None:
        """Have the reply to one of them written; does not wait."""
        self._chores.append(partial(self._registry.answer, order, reply))
        self._due.set()

    def holds_since(self, moment: float) -> bool:
        """Return whether this process has certainly kept all its locks since a monotonic time."""
        # In this order: after a later registration, a fresh lease is seen only together with the time of entering.
        fresh = time.monotonic() - self._renewed_at < self._lease_ttl
        return fresh and self._entered_at <= moment

    def leave(self, timeout: float = _LEAVE_WITHIN) -> None:
        """Do the evictions that are due and leave the registry, in `timeout` seconds at most."""
        self._leaving = True
        self._due.set()
        self._thread.join(timeout)
        if not self._left:
            logger.warning("could not leave the registry of processes: another process, or the next start, cleans up")

    def _register(self) -> None:
        begun = time.monotonic()
        self._registry.enter()
        self._entered_at = time.monotonic()
        self._renewed_at = begun

    def _run(self) -> None:
        pause, works = self._interval, True
        while not self._leaves_after(pause if works else min(pause, _RETRY_AFTER)):
            works = self._try(self._beat) and self._do_chores() and self._try(self._look_after_others)
            works = works and self._try(self._take_orders)
            pause = max(0.0, min(self._interval, self._look_due - time.monotonic()))
            if works and self._problem is not None:
                logger.info("the registry of processes can be written again")
                self._problem = None
        # With evictions left to do, its record stays: it leads the next start to them.
        self._left = self._do_chores() and self._try(self._registry.leave)

    def _leaves_after(self, pause: float) -> bool:
        """Wait for `pause` seconds, or until there is something to do; return whether that is to leave."""
        self._due.wait(pause)
        self._due.clear()
        return self._leaving

    def _do_chores(self) -> bool:
        while self._chores:
            if not self._try(self._chores[0]):
                return False
            self._chores.popleft()
        return True

    def _look_after_others(self) -> None:
        if time.monotonic() >= self._look_due:
            self._look_due = time.monotonic() + self._registry.look_after_others()

    def _take_orders(self) -> None:
        self._orders.extend(self._registry.take_orders())

    def _beat(self) -> None:
        begun = time.monotonic()
        if self._registry.beat(self._report()):
            self._renewed_at = begun
        else:
            # Another process took this one for dead, for instance while the machine slept.
            logger.warning("this process was evicted from the registry; it registers again")
            self._register()

    def _try(self, action: Callable[[], None]) -> bool:
        """Do something and return whether it worked; log a failure when it is new."""
        try:
            action()
        except Exception as error:  # the top of a thread: the heartbeats must go on whatever one of them met
            problem = f"{type(error).__name__}: {error}"
            if problem != self._problem:
                unexpected = None if isinstance(error, _EXPECTED) else error
                logger.warning("cannot write to the registry of processes, retrying: %s", problem, exc_info=unexpected)
            self._problem = problem
            return False
        return True
