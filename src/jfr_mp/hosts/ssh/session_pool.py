"""The way to a host: one connection that all threads share, opened when it is needed and again when it broke."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from paramiko import Channel, SFTPClient
from paramiko.ssh_exception import SSHException

from jfr_mp.errors import HostUnreachable
from jfr_mp.hosts.ssh.connection import Connection
from jfr_mp.hosts.ssh.watchdog import Watchdog

T = TypeVar("T")

#: How many commands and how many transfers are under way at one time: an sshd allows ten sessions by default, those
#: included that it has not quite closed yet.
_COMMANDS, _TRANSFERS = 3, 3


class Link:
    """Lends sessions to the threads that work with a host.

    Parameters
    ----------
    name
        How messages call the host.
    connect
        Opens a connection, or raises HostUnreachable.
    patience
        Seconds for which an operation may go without any progress.
    """

    def __init__(self, name: str, connect: Callable[[], Connection], patience: float) -> None:
        self.name = name
        self.patience = patience
        self._connect = connect
        self._connecting = threading.Lock()
        self._connection: Connection | None = None
        self._commands = threading.BoundedSemaphore(_COMMANDS)
        self._transfers = threading.BoundedSemaphore(_TRANSFERS)
        #: SFTP sessions that nobody uses now.
        self._idle: list[tuple[Connection, SFTPClient]] = []

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection, as far as is known."""
        connection = self._connection
        return connection is not None and connection.is_alive

    def connect(self) -> Connection:
        """Return the connection, and open it first if there is none.

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

    def with_session(
        self, work: Callable[[Channel, Watchdog], T], *, may_repeat: Callable[[], bool], patience: float | None = None
    ) -> T:
        """Do something with a session for one command; see `_use`."""

        def with_channel(connection: Connection, watchdog: Watchdog) -> T:
            with connection.session() as channel:
                return work(channel, watchdog)

        with self._commands:
            return self._use(with_channel, may_repeat=may_repeat, patience=patience or self.patience)

    def with_sftp(self, work: Callable[[SFTPClient, Watchdog], T]) -> T:
        """Do something with a session for files, once more where the connection breaks; see `_use`."""

        def with_client(connection: Connection, watchdog: Watchdog) -> T:
            with self._borrowed(connection) as client:
                return work(client, watchdog)

        with self._transfers:
            return self._use(with_client, may_repeat=lambda: True, patience=self.patience)

    def _use(self, work: Callable[[Connection, Watchdog], T], *, may_repeat: Callable[[], bool], patience: float) -> T:
        """Do something with the connection.

        Parameters
        ----------
        work
            What to do. Its OSError is its own where the connection still lives.
        may_repeat
            Whether it may be done a second time when the connection broke on the first.
        patience
            Seconds for which it may go without any progress.

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
                except (OSError, EOFError, SSHException) as error:
                    if not watchdog.fired and not _is_broken(connection, error):
                        raise
                    self._drop(connection)
                    if watchdog.fired:
                        raise HostUnreachable(f"{self.name}: no answer within {patience:g} s") from error
                    if last or not may_repeat():
                        raise HostUnreachable(f"{self.name}: the connection broke: {_text(error)}") from error
        raise AssertionError("the second time returns or raises")

    @contextmanager
    def _borrowed(self, connection: Connection) -> Iterator[SFTPClient]:
        """Lend an SFTP session; one on which something went wrong that is not about a file is not lent again."""
        client = None
        while self._idle and client is None:
            try:
                owner, idle = self._idle.pop()
            except IndexError:
                break
            client = idle if owner is connection else None
        client = client or connection.open_sftp()
        try:
            yield client
        except OSError as error:
            if _is_broken(connection, error):
                client.close()
            else:
                self._keep(connection, client)
            raise
        except BaseException:  # nobody knows in which state that leaves the session
            client.close()
            raise
        self._keep(connection, client)

    def _keep(self, connection: Connection, client: SFTPClient) -> None:
        """Keep an SFTP session for the next who wants one."""
        if connection.keeps_sessions:
            self._idle.append((connection, client))
        else:
            client.close()

    def _drop(self, connection: Connection) -> None:
        """Close a connection that broke, unless another thread has seen that before."""
        with self._connecting:
            if self._connection is connection:
                self._forget()

    def _forget(self) -> None:
        self._idle.clear()
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _is_broken(connection: Connection, error: Exception) -> bool:
    """Tell an error of the connection from what a host says about a file."""
    if isinstance(error, (EOFError, SSHException, ConnectionError, TimeoutError)):
        return True
    # paramiko raises a bare OSError with this text for a channel that is gone.
    return not connection.is_alive or str(error) == "Socket is closed"


def _text(error: Exception) -> str:
    return str(error) or "the other side closed it"
