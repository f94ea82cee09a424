"""The link to a host: one connection that all threads share, opened when it is needed and again when it broke."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from jfr_mp.errors import HostUnreachable
from jfr_mp.hosts.ssh.interface import CommandSession, Connection, ConnectionBroken, FileSession
from jfr_mp.hosts.ssh.watchdog import Watchdog

T = TypeVar("T")


class Link:
    """Provides sessions to the threads that work with a host.

    Parameters
    ----------
    name
        The name of the host in messages.
    connect
        Opens a connection, or raises HostUnreachable.
    patience
        Seconds for which an operation may make no progress.
    """

    def __init__(self, name: str, connect: Callable[[], Connection], patience: float) -> None:
        self.name = name
        self.patience = patience
        self._connect = connect
        self._connecting = threading.Lock()
        self._connection: Connection | None = None

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection, as far as is known."""
        connection = self._connection
        return connection is not None and connection.is_alive

    def connect(self) -> Connection:
        """Return the connection; open it first if there is none.

        Raises
        ------
        HostUnreachable
            Not possible now.
        """
        with self._connecting:
            if self._connection is None or not self._connection.is_alive:
                self._forget()
                self._connection = self._connect()
            return self._connection

    def close(self) -> None:
        """Close the connection."""
        with self._connecting:
            self._forget()

    def with_commands(
        self,
        work: Callable[[CommandSession, Watchdog], T],
        *,
        may_repeat: Callable[[], bool],
        patience: float | None = None,
    ) -> T:
        """Do something with a session for one command; see `_use`."""

        def with_session(connection: Connection, watchdog: Watchdog) -> T:
            with connection.commands(watchdog.progress) as session:
                return work(session, watchdog)

        return self._use(with_session, may_repeat=may_repeat, patience=patience or self.patience)

    def with_files(self, work: Callable[[FileSession, Watchdog], T]) -> T:
        """Do something with a session for files, and once more if the connection breaks; see `_use`."""

        def with_session(connection: Connection, watchdog: Watchdog) -> T:
            with connection.files(watchdog.progress) as session:
                return work(session, watchdog)

        return self._use(with_session, may_repeat=lambda: True, patience=self.patience)

    def _use(self, work: Callable[[Connection, Watchdog], T], *, may_repeat: Callable[[], bool], patience: float) -> T:
        """Do something with the connection.

        Parameters
        ----------
        work
            What to do.
        may_repeat
            Whether to do it once more if the connection broke the first time.
        patience
            Seconds for which it may make no progress.

        Raises
        ------
        HostUnreachable
            There is no connection, or it broke, or nothing moved any more.
        """
        for last in (False, True):
            connection = self.connect()
            with Watchdog(connection.close, patience) as watchdog:
                try:
                    return work(connection, watchdog)
                except ConnectionBroken as error:
                    self._drop(connection)
                    if watchdog.fired:
                        raise HostUnreachable(f"{self.name}: no answer within {patience:g} s") from error
                    if last or not may_repeat():
                        raise HostUnreachable(f"{self.name}: the connection broke: {error}") from error
        raise AssertionError("the second time returns or raises")

    def _drop(self, connection: Connection) -> None:
        """Close a connection that broke, unless another thread has done so already."""
        with self._connecting:
            if self._connection is connection:
                self._forget()

    def _forget(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
