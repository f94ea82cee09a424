"""The master's notes in the database, written by a thread of its own so that the master never waits for it."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

from jfr_mp.bus.messages import MasterStatus

logger = logging.getLogger(__name__)


class Registry(Protocol):
    """Where masters of all machines write who they are. Any method may take long, or raise."""

    def role_gone(self, owner: str) -> None:
        """Free the locks of a role process that has ended, and forget it."""

    def heartbeat(self, status: MasterStatus) -> None:
        """Note that this master lives, and how it is."""

    def leave(self) -> None:
        """Forget this master."""


class Registrar:
    """Hands what the master has to say to a registry, in order, as often as it takes.

    Parameters
    ----------
    registry
        Used by the thread of the registrar only.
    interval
        Seconds between two heartbeats, and before what failed is tried again.
    """

    def __init__(self, registry: Registry, interval: float) -> None:
        self._registry = registry
        self._interval = interval
        self._due: deque[Callable[[], None]] = deque()
        self._status: MasterStatus | None = None
        self._news = threading.Event()
        self._closing = False
        self._complaint: str | None = None
        self._thread = threading.Thread(target=self._run, name="registrar", daemon=True)
        self._thread.start()

    def gone(self, owner: str) -> None:
        """Let the locks of a role process that has ended be freed, now and not when its lease runs out."""
        self._add(lambda: self._registry.role_gone(owner))

    def tell(self, status: MasterStatus) -> None:
        """Say what the next heartbeats say."""
        self._status = status

    def close(self, timeout: float) -> None:
        """Write what is left and let this master be forgotten, in `timeout` seconds at most."""
        self._closing = True
        self._news.set()
        self._thread.join(timeout)
        if self._thread.is_alive() or self._due:
            logger.warning("the database does not answer: what is left there is cleaned up by the next start")

    def _add(self, note: Callable[[], None]) -> None:
        self._due.append(note)
        self._news.set()

    def _run(self) -> None:
        while not self._closing:
            self._news.wait(self._interval)
            self._news.clear()
            self._turn()
        self._turn()
        if not self._due:
            self._write(self._registry.leave)

    def _turn(self) -> None:
        while self._due:
            if not self._write(self._due[0]):
                return
            self._due.popleft()
        if (status := self._status) is not None and not self._closing:
            self._write(lambda: self._registry.heartbeat(status))

    def _write(self, note: Callable[[], None]) -> bool:
        """Do one thing and tell whether it worked; say only what is new about failures."""
        try:
            note()
        except Exception as error:  # the top of a thread: the heartbeats must go on whatever one of them met
            complaint = f"{type(error).__name__}: {error}"
            if complaint != self._complaint:
                logger.warning("cannot write to the registry of processes, trying again: %s", complaint)
            self._complaint = complaint
            return False
        if self._complaint is not None:
            logger.info("the registry of processes can be written again")
        self._complaint = None
        return True
