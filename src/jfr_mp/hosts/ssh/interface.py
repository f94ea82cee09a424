"""What a connection to a host offers, whichever process has logged in.

Two classes implement it: `DirectConnection` for a connection of this process, and `LentConnection` for one that the
login broker provides. `tests/contract/test_connections.py` is the suite that both must pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

#: Bytes that are read or sent at a time: the most in one request that every SFTP server takes.
BLOCK = 32768

#: Called periodically while an operation waits for its turn, or while a command runs: the connection is alive.
AliveSignal = Callable[[], None]
#: Called with the number of bytes of a file that have been taken so far.
BytesTaken = Callable[[int], None]
#: Called with each block of a file, and with the size that the file had when it was opened.
BlockReceiver = Callable[[bytes, int], None]


class ConnectionBroken(Exception):
    """The connection no longer works. Whether the operation took effect is not known."""


class TookTooLong(Exception):
    """A command did not end within its limit.

    Parameters
    ----------
    printed
        What it had printed to standard output until then.
    """

    def __init__(self, printed: bytes) -> None:
        super().__init__()
        self.printed = printed


@dataclass(frozen=True)
class RemoteCommand:
    """A command line for the user's shell on the host.

    Parameters
    ----------
    line
        The command line.
    limit
        Seconds that the command may take.
    stdin
        Its standard input.
    environment
        Variables that are sent along; the host decides which of them it accepts.
    """

    line: str
    limit: float
    stdin: bytes = b""
    environment: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Output:
    """What a command printed and how it ended: `returncode` is -1 if a signal killed it."""

    stdout: bytes
    stderr: bytes
    returncode: int


class CommandSession(Protocol):
    """A session for one command."""

    def run(self, command: RemoteCommand, alive: AliveSignal) -> Output:
        """Run the command to its end.

        Raises
        ------
        TookTooLong
            The command exceeded its limit. It may still be running.
        ConnectionBroken
            The connection broke. The command may have run.
        """


class FileSession(Protocol):
    """A session for files. One thread at a time may use it.

    Every method raises OSError if the host refuses: with `errno` set if SFTP has a name for the reason, without it if
    SFTP does not. ConnectionBroken says that the connection broke.
    """

    def write(self, path: str, content: Iterable[bytes], size: int, taken: BytesTaken) -> None:
        """Write blocks of `size` bytes in total to a new file; an existing file at `path` is removed first."""

    def read(self, path: str, offset: int, receive: BlockReceiver, limit: int | None = None) -> int:
        """Read at most `limit` bytes of a regular file from `offset` on; return the size of the whole file."""

    def size(self, path: str) -> int:
        """Return the size of a file in bytes."""

    def is_directory(self, path: str) -> bool:
        """Whether there is a directory at `path`."""

    def rename(self, path: str, new_path: str) -> None:
        """Rename a file; a file at `new_path` is replaced."""

    def remove(self, path: str) -> None:
        """Remove a file."""


class Connection(Protocol):
    """An authenticated connection. Several threads may use it at the same time."""

    @property
    def is_alive(self) -> bool:
        """Whether the connection is open, as far as is known."""

    def commands(self, alive: AliveSignal) -> AbstractContextManager[CommandSession]:
        """Yield a session for one command; wait while all sessions of the connection are in use.

        Raises
        ------
        HostUnreachable
            The host allows no further session.
        ConnectionBroken
            The connection broke; nothing has run.
        """

    def files(self, alive: AliveSignal) -> AbstractContextManager[FileSession]:
        """Yield a session for files; wait while all sessions of the connection are in use.

        Raises
        ------
        HostError
            The host offers no SFTP.
        HostUnreachable
            The host allows no further session.
        ConnectionBroken
            The connection broke.
        """

    def close(self) -> None:
        """Close the connection with everything that is open on it. Never waits long."""
