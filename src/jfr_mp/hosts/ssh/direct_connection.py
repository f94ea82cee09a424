"""A connection that this process has opened itself."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress

from paramiko import Channel, SSHClient
from paramiko.agent import AgentRequestHandler
from paramiko.ssh_exception import SSHException

from jfr_mp.errors import HostError, HostUnreachable
from jfr_mp.hosts.ssh.command_session import ChannelCommandSession
from jfr_mp.hosts.ssh.endpoint import Endpoint
from jfr_mp.hosts.ssh.interface import AliveSignal, CommandSession, ConnectionBroken, FileSession
from jfr_mp.hosts.ssh.paramiko_errors import is_refusal, translated
from jfr_mp.hosts.ssh.sftp import SftpSession
from jfr_mp.hosts.ssh.transport import OrderlyTransport

#: How many commands and how many transfers run at a time: an sshd allows ten sessions by default, including the ones
#: that it has not quite closed yet.
_COMMANDS, _TRANSFERS = 6, 3
#: Seconds for which a session is requested again and again, and between two requests.
_SESSION_PATIENCE, _SESSION_PAUSE = 15.0, 0.1
#: Seconds between two signals while waiting for a turn.
_PULSE = 1.0


class DirectConnection:
    """A connection of this process.

    Parameters
    ----------
    endpoint
        Where it goes.
    client
        Logged in there.
    below
        What the connection stands on, closed after it.
    """

    def __init__(self, endpoint: Endpoint, client: SSHClient, below: ExitStack) -> None:
        self._endpoint = endpoint
        self._client = client
        self._below = below
        self._closing = threading.Lock()
        transport = client.get_transport()
        assert isinstance(transport, OrderlyTransport)
        self._transport = transport
        self._commands = threading.BoundedSemaphore(_COMMANDS)
        self._transfers = threading.BoundedSemaphore(_TRANSFERS)
        #: SFTP sessions that are open and not in use.
        self._idle: list[SftpSession] = []
        transport.set_keepalive(endpoint.keepalive)

    @property
    def is_alive(self) -> bool:
        """Whether the connection is open, as far as is known."""
        return self._transport.is_active()

    @contextmanager
    def commands(self, alive: AliveSignal) -> Iterator[CommandSession]:
        """Yield a session for one command, which may use the SSH agent if the endpoint says so."""
        with _turn(self._commands, alive), translated(self._transport.is_active), ExitStack() as opened:
            channel = self._open_session(alive)
            opened.callback(self._transport.finish, channel)
            if self._endpoint.forward_agent:
                opened.enter_context(closing(AgentRequestHandler(channel)))
            yield ChannelCommandSession(channel, lambda: self._transport.was_closed_by_host(channel))

    @contextmanager
    def files(self, alive: AliveSignal) -> Iterator[FileSession]:
        """Yield a session for files."""
        with _turn(self._transfers, alive):
            session = self._idle_session() or self._open_files(alive)
            try:
                yield session
            except OSError:
                # What the host says about a file leaves the session as it was.
                self._idle.append(session)
                raise
            except BaseException:  # the state of the session is not known then
                session.close()
                raise
            self._idle.append(session)

    def open_tunnel(self, host: str, port: int, timeout: float) -> Channel:
        """Open a channel that leads through this host to another one; paramiko's errors pass through."""
        return self._transport.open_channel("direct-tcpip", (host, port), ("127.0.0.1", 0), timeout=timeout)

    def probe(self) -> None:
        """Ask the host for a reply, and wait for it without any limit."""
        self._transport.global_request("keepalive@openssh.com", wait=True)

    def wait_for_end(self, seconds: float) -> None:
        """Wait until the connection ends, but not longer than so many seconds."""
        self._transport.join(seconds)

    def close(self) -> None:
        """Close the connection and what it stands on."""
        with self._closing:
            self._idle.clear()
            self._client.close()
            self._below.close()

    def _open_session(self, alive: AliveSignal) -> Channel:
        """Open a session as soon as the host grants one: it still counts the sessions that have just been closed."""
        deadline = time.monotonic() + _SESSION_PATIENCE
        while True:
            try:
                return self._transport.open_owned_session()
            except SSHException as error:
                if not is_refusal(error) or not self.is_alive:
                    raise
                if time.monotonic() > deadline:
                    raise HostUnreachable(
                        f"{self._endpoint}: the host allows no further session on this connection"
                    ) from error
            alive()
            if idle := self._idle_session():
                idle.close()
            else:
                time.sleep(_SESSION_PAUSE)

    def _open_files(self, alive: AliveSignal) -> SftpSession:
        with translated(self._transport.is_active), ExitStack() as undo:
            channel = self._open_session(alive)
            undo.callback(self._transport.finish, channel)
            try:
                session = SftpSession.on(channel, lambda: self._transport.finish(channel))
            except HostError as error:
                if not self.is_alive:
                    raise ConnectionBroken("it ended while SFTP began") from error
                raise HostError(f"{self._endpoint}: {error}", permanent=True) from error
            undo.pop_all()
            return session

    def _idle_session(self) -> SftpSession | None:
        """Take an SFTP session that is open and not in use."""
        with suppress(IndexError):
            while not (session := self._idle.pop()).is_open:
                session.close()
            return session
        return None


@contextmanager
def _turn(slots: threading.BoundedSemaphore, alive: AliveSignal) -> Iterator[None]:
    """Wait for a free slot and hold it."""
    while not slots.acquire(timeout=_PULSE):
        alive()
    try:
        yield
    finally:
        slots.release()
