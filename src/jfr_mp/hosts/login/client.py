"""A connection that a broker process owns, as the processes see it that use it.

For each channel there is one connection to the broker's Unix socket. It begins with one line each way: what is wanted,
and, as JSON, whether it is granted. What follows for SFTP are bytes as they are. In a session there follow the command,
as a line of JSON, and its input as it is; what the command prints comes back in frames.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import cast
from weakref import WeakSet

from paramiko import Channel, SFTPClient

from jfr_mp.errors import HostError, HostUnreachable, LoginNeeded

#: Before each frame: what it is, and its length.
HEADING = struct.Struct("!cI")
#: What frames are: a part of the output, and, as the last one, the exit status.
STDOUT, STDERR, STATUS = b"o", b"e", b"x"
EXIT_STATUS = struct.Struct("!i")
_BLOCK = 65536


class BrokeredConnection:
    """A connection of a broker.

    Parameters
    ----------
    name
        How messages, and `jfr-mp connect`, call the host.
    path
        The broker's socket.

    Raises
    ------
    LoginNeeded
        There is no broker, or its connection has ended.
    """

    #: Sessions are for all processes together: nobody keeps one for later.
    keeps_sessions = False

    def __init__(self, name: str, path: Path) -> None:
        self._path = path
        self._sockets: WeakSet[socket.socket] = WeakSet()
        self._noting = threading.Lock()
        try:
            #: Ends when the broker does.
            self._presence = self.request("presence")
        except (OSError, EOFError) as error:
            raise LoginNeeded(f"{name}: a login is needed: jfr-mp connect {name}") from error

    @property
    def is_alive(self) -> bool:
        """Whether the connection is open, as far as is known."""
        try:
            return self._presence.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False

    def request(self, want: str) -> socket.socket:
        """Return a connection to the broker on which it has granted what is wanted.

        Raises
        ------
        HostError
            The host refuses it.
        EOFError, OSError
            The connection has ended.
        """
        opened = socket.socket(socket.AF_UNIX)
        with self._noting:
            self._sockets.add(opened)
        try:
            opened.connect(str(self._path))
            opened.sendall(f"{want}\n".encode())
            answer = json.loads(read_line(opened))
            if "refused" in answer:
                kind = HostUnreachable if answer["unreachable"] else HostError
                raise kind(answer["refused"], permanent=answer["permanent"])
        except BaseException:  # Ctrl-C included: no socket stays
            opened.close()
            raise
        return opened

    def open_session(self) -> BrokeredChannel:
        """Return a channel for one command."""
        return BrokeredChannel(self, self.request("session"))

    @contextmanager
    def session(self) -> Iterator[Channel]:
        """Lend a channel for one command."""
        with closing(self.open_session()) as channel:
            # It has what `shell` uses of paramiko's.
            yield cast(Channel, channel)

    def open_sftp(self) -> SFTPClient:
        """Open a channel for files."""
        return SFTPClient(cast(Channel, _SftpSocket(self.request("sftp"))))

    def end(self) -> None:
        """End the connection itself, for all who use it."""
        with suppress(OSError, EOFError):
            self.request("close").close()
        # Until the broker is gone.
        with suppress(OSError):
            self._presence.recv(1)
        self.close()

    def close(self) -> None:
        """Leave the connection; others may go on to use it."""
        with self._noting:
            sockets = list(self._sockets)
        for opened in sockets:
            # Closing alone does not wake a thread that waits there.
            with suppress(OSError):
                opened.shutdown(socket.SHUT_RDWR)
        self._presence.close()


class BrokeredChannel:
    """A channel for one command, with the methods of paramiko's Channel that `shell` uses. For one thread.

    Parameters
    ----------
    connection
        What opens further channels.
    opened
        Leads to a session that the broker has granted.
    """

    def __init__(self, connection: BrokeredConnection, opened: socket.socket) -> None:
        self._connection = connection
        self._socket = opened
        self._environment: dict[str, str] = {}
        self._arrived = bytearray()
        self._output = {STDOUT: bytearray(), STDERR: bytearray()}
        self._status: int | None = None
        #: Whether nothing more will come, as far as has been read.
        self.eof_received = False
        self.status_event = self

    def update_environment(self, environment: Mapping[str, str]) -> None:
        """Set variables for the command."""
        self._environment.update(environment)

    def exec_command(self, command: str) -> None:
        """Start the command."""
        order = {"command": command, "environment": self._environment}
        self._socket.sendall(json.dumps(order).encode() + b"\n")

    def get_transport(self) -> BrokeredConnection:
        """Return what opens channels."""
        return self._connection

    @property
    def closed(self) -> bool:
        """Whether nothing more will come; this reads what has arrived."""
        with suppress(BlockingIOError):
            while not self.eof_received:
                block = self._socket.recv(_BLOCK, socket.MSG_DONTWAIT)
                self._arrived += block
                self.eof_received = not block
        self._unpack()
        return self.eof_received

    @property
    def exit_status(self) -> int:
        """How the command ended; -1 for a signal. EOFError if nobody will ever know."""
        if self._status is None:
            raise EOFError("the connection ended before the command did")
        return self._status

    def exit_status_ready(self) -> bool:
        """Tell whether it is known how the command ended."""
        return self._status is not None

    def wait(self, seconds: float) -> None:
        """Wait for the end of the command."""
        arrivals = select.poll()
        arrivals.register(self.fileno(), select.POLLIN)
        deadline = time.monotonic() + seconds
        while not self.closed and (left := deadline - time.monotonic()) > 0:
            arrivals.poll(1000 * left)

    def fileno(self) -> int:
        """Return what to poll for output."""
        return self._socket.fileno()

    def recv_ready(self) -> bool:
        """Tell whether there is output."""
        return bool(self._output[STDOUT])

    def recv(self, size: int) -> bytes:
        """Return output that has been read."""
        return _cut(self._output[STDOUT], size)

    def recv_stderr_ready(self) -> bool:
        """Tell whether there is output for errors."""
        return bool(self._output[STDERR])

    def recv_stderr(self, size: int) -> bytes:
        """Return output for errors that has been read."""
        return _cut(self._output[STDERR], size)

    def send_ready(self) -> bool:
        """Tell whether input is taken."""
        return bool(select.select([], [self._socket], [], 0)[1])

    def send(self, content: bytes) -> int:
        """Send input as far as it is taken; return how many bytes."""
        try:
            return self._socket.send(content, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return 0

    def shutdown_write(self) -> None:
        """End the input."""
        # A command that has ended takes no more.
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Give up the channel."""
        self._socket.close()

    def _unpack(self) -> None:
        """Sort out the frames that are complete."""
        start = 0
        while len(self._arrived) >= start + HEADING.size:
            kind, size = HEADING.unpack_from(self._arrived, start)
            end = start + HEADING.size + size
            if len(self._arrived) < end:
                break
            content = self._arrived[start + HEADING.size : end]
            if kind == STATUS:
                (self._status,) = EXIT_STATUS.unpack(content)
            else:
                self._output[kind] += content
            start = end
        del self._arrived[:start]


class _SftpSocket:
    """What paramiko's SFTPClient needs of a channel."""

    def __init__(self, opened: socket.socket) -> None:
        self._socket = opened
        self.closed = False

    def send(self, content: bytes) -> int:
        return self._socket.send(content)

    def recv(self, size: int) -> bytes:
        return self._socket.recv(size)

    def get_name(self) -> str:
        return "broker"

    def close(self) -> None:
        self.closed = True
        # Closing alone does not wake a thread that waits there.
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def read_line(opened: socket.socket) -> bytes:
    """Read one line and not a byte more: something else may follow at once."""
    line = bytearray()
    while not line.endswith(b"\n"):
        block = opened.recv(_BLOCK, socket.MSG_PEEK)
        if not block:
            raise EOFError("the broker ended")
        line += opened.recv(block.find(b"\n") + 1 or len(block))
    return bytes(line)


def _cut(buffer: bytearray, size: int) -> bytes:
    """Take bytes off a buffer."""
    block = bytes(buffer[:size])
    del buffer[:size]
    return block
