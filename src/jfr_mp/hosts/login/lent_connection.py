"""A connection that a broker process owns, as the processes see it that use it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from weakref import WeakSet

from pydantic import BaseModel

from jfr_mp.errors import LoginNeeded
from jfr_mp.hosts.login import broker_messages as messages
from jfr_mp.hosts.login.broker_socket import is_same_user
from jfr_mp.hosts.login.wire import Wire, WireError, unexpected
from jfr_mp.hosts.ssh.interface import (
    AliveSignal,
    BlockReceiver,
    BytesTaken,
    CommandSession,
    ConnectionBroken,
    FileSession,
    Output,
    RemoteCommand,
    TookTooLong,
)

#: Seconds for a broker to answer that it is there.
_BROKER_PATIENCE = 30.0


class LentConnection:
    """A connection of a broker. Each session is a connection to the broker's Unix socket.

    Parameters
    ----------
    name
        The name of the host in messages, and for `jfr-mp connect`.
    path
        The broker's socket.

    Raises
    ------
    LoginNeeded
        There is no broker, or it does not answer, or its connection has ended.
    """

    def __init__(self, name: str, path: Path) -> None:
        self._name = name
        self._path = path
        self._wires: WeakSet[Wire] = WeakSet()
        self._registering = threading.Lock()
        try:
            #: Ends when the broker does.
            self._presence = self._request(messages.Presence())
        except ConnectionBroken as error:
            raise LoginNeeded(f"{name}: a login is needed: jfr-mp connect {name}") from error

    @property
    def is_alive(self) -> bool:
        """Whether the connection is open, as far as is known."""
        try:
            return self._presence.socket.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False

    @contextmanager
    def commands(self, alive: AliveSignal) -> Iterator[CommandSession]:
        """Yield a session for one command."""
        with closing(self._request(messages.OpenCommands(), alive)) as wire:
            yield LentCommandSession(wire)

    @contextmanager
    def files(self, alive: AliveSignal) -> Iterator[FileSession]:
        """Yield a session for files."""
        with closing(self._request(messages.OpenFiles(), alive)) as wire:
            yield LentFileSession(wire)

    def close(self) -> None:
        """Leave the connection; other processes may go on using it."""
        with self._registering:
            wires = list(self._wires)
        for wire in wires:
            wire.shut_down()
        self._presence.close()

    def _request(self, wanted: messages.BaseMessage, alive: AliveSignal = lambda: None) -> Wire:
        """Return a connection to the broker on which it has granted what is wanted.

        Raises
        ------
        HostError
            The host refuses it.
        LoginNeeded
            The broker is of another version.
        ConnectionBroken
            The connection has ended.
        """
        wire = Wire(socket.socket(socket.AF_UNIX))
        with self._registering:
            self._wires.add(wire)
        try:
            _connect(wire.socket, self._path)
            wire.send(wanted)
            if isinstance(wanted, messages.Presence) and not wire.has_arrived(_BROKER_PATIENCE):
                raise ConnectionBroken("the login broker does not answer")
            while isinstance(
                answer := wire.expect(messages.Waiting, messages.Granted, messages.Refused), messages.Waiting
            ):
                alive()
            if isinstance(answer, messages.Refused):
                raise answer.to_error()
            return wire
        except WireError as error:
            wire.close()
            raise LoginNeeded(
                f"{self._name}: another version of jfr-mp keeps the login: close it by jfr-mp connect --close "
                f"{self._name}, then log in again by jfr-mp connect {self._name}"
            ) from error
        except BaseException:  # Ctrl-C included: no socket stays open
            wire.close()
            raise


class LentCommandSession:
    """A session for one command.

    Parameters
    ----------
    wire
        Leads to a session that the broker has granted.
    """

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def run(self, command: RemoteCommand, alive: AliveSignal) -> Output:
        """Run the command to its end."""
        environment = dict(command.environment) if command.environment else None
        printed = {"stdout": bytearray(), "stderr": bytearray()}
        self._wire.send(messages.Run(line=command.line, limit=command.limit, environment=environment))
        self._wire.send_content("stdin", command.stdin)
        self._wire.send(messages.End())
        while True:
            match self._wire.receive():
                case messages.Content(stream=("stdout" | "stderr") as stream), content:
                    printed[stream] += content
                case messages.Running(), _:
                    alive()
                case messages.CommandEnded(returncode=returncode), _:
                    return Output(bytes(printed["stdout"]), bytes(printed["stderr"]), returncode)
                case messages.TimedOut(), _:
                    raise TookTooLong(bytes(printed["stdout"]))
                case message, _:
                    raise unexpected(message)


class LentFileSession:
    """A session for files.

    Parameters
    ----------
    wire
        Leads to a session that the broker has granted.
    """

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def write(self, path: str, content: Iterable[bytes], size: int, taken: BytesTaken) -> None:
        """Write a new file."""
        self._wire.send(messages.WriteFile(path=path, size=size))
        done = 0
        for block in content:
            # An answer before the end says that the file cannot be written.
            if self._wire.has_arrived():
                break
            self._wire.send_content("file", block)
            done += len(block)
            taken(done)
        self._ask(messages.End())

    def read(self, path: str, offset: int, receive: BlockReceiver, limit: int | None = None) -> int:
        """Read a file."""
        self._wire.send(messages.ReadFile(path=path, offset=offset, limit=limit))
        while True:
            match self._wire.receive():
                case messages.Content(stream="file", size=size), content:
                    receive(content, size)
                case message, _:
                    return _result(message)

    def size(self, path: str) -> int:
        """Return the size of a file in bytes."""
        return self._ask(messages.FileSize(path=path))

    def is_directory(self, path: str) -> bool:
        """Whether there is a directory at `path`."""
        return bool(self._ask(messages.IsDirectory(path=path)))

    def rename(self, path: str, new_path: str) -> None:
        """Rename a file."""
        self._ask(messages.RenameFile(path=path, new_path=new_path))

    def remove(self, path: str) -> None:
        """Remove a file."""
        self._ask(messages.RemoveFile(path=path))

    def _ask(self, message: messages.BaseMessage) -> int:
        """Send a message and return the result of the operation."""
        self._wire.send(message)
        return _result(self._wire.receive().message)


def _connect(opened: socket.socket, path: Path) -> None:
    """Connect to a broker; in its place there could be a socket of another user."""
    try:
        opened.connect(str(path))
    except OSError as error:
        raise ConnectionBroken(f"no login broker listens: {error.strerror}") from error
    if not is_same_user(opened):
        raise ConnectionBroken(f"{path} belongs to another user")


def _result(message: BaseModel) -> int:
    """Return the result of a file operation, or raise the error."""
    if isinstance(message, messages.FileError):
        raise message.to_error()
    if not isinstance(message, messages.Done):
        raise unexpected(message)
    return message.value
