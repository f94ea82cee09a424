"""Serves one client of a login broker, in a thread of its own."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import suppress

from pydantic import BaseModel

from jfr_mp.errors import HostError
from jfr_mp.hosts.login import broker_messages as messages
from jfr_mp.hosts.login.wire import Wire, WireError, unexpected
from jfr_mp.hosts.ssh.direct_connection import DirectConnection
from jfr_mp.hosts.ssh.interface import ConnectionBroken, FileSession, RemoteCommand, TookTooLong

#: Seconds for which a client that has a session may be silent or take nothing: others wait for it.
_CLIENT_PATIENCE = 120.0
#: Seconds between two signals that a command still runs.
_PULSE = 1.0


class Lender:
    """Gives one client what it asks for.

    Parameters
    ----------
    connection
        The connection that the broker owns.
    wire
        Leads to the client.
    """

    def __init__(self, connection: DirectConnection, wire: Wire) -> None:
        self._connection = connection
        self._wire = wire
        self._next_pulse = 0.0

    def serve(self) -> None:
        """Serve the client until it goes, or the connection ends; neither is an error of the broker."""
        with suppress(ConnectionBroken):
            try:
                self._serve()
            except HostError as error:
                self._wire.send(messages.Refused.by(error))
            except WireError as error:
                self._wire.send(messages.Refused.by(HostError(str(error))))

    def _serve(self) -> None:
        self._wire.socket.settimeout(_CLIENT_PATIENCE)
        match self._wire.receive().message:
            case messages.OpenCommands():
                self._run()
            case messages.OpenFiles():
                self._transfer()
            case messages.Presence():
                self._wire.socket.settimeout(None)
                self._wire.send(messages.Granted())
                self._wire.receive()
            case messages.Close():
                self._connection.close()
                # The client learns from the end of this process that the login is closed.
                self._wire.socket.settimeout(None)
                self._wire.receive()
            case message:
                raise unexpected(message)

    def _run(self) -> None:
        """Run a command."""
        with self._connection.commands(self._waiting) as session:
            self._wire.send(messages.Granted())
            order = self._wire.expect(messages.Run)
            command = RemoteCommand(order.line, order.limit, b"".join(self._content("stdin")), order.environment)
            try:
                output = session.run(command, self._running)
            except TookTooLong as late:
                self._wire.send_content("stdout", late.printed)
                self._wire.send(messages.TimedOut())
                return
        # The client may be slow to take the output: the session is free for others by now.
        self._wire.send_content("stdout", output.stdout)
        self._wire.send_content("stderr", output.stderr)
        self._wire.send(messages.CommandEnded(returncode=output.returncode))

    def _transfer(self) -> None:
        """Do what the client wants with files, until it goes."""
        with self._connection.files(self._waiting) as session:
            self._wire.send(messages.Granted())
            while message := self._next_operation():
                content = self._content("file") if isinstance(message, messages.WriteFile) else iter(())
                try:
                    answer: BaseModel = messages.Done(value=self._operate(session, message, content))
                except OSError as error:
                    answer = messages.FileError.by(error)
                self._wire.send(answer)
                # After an error the client still sends the end of what it was sending.
                deque(content, maxlen=0)

    def _next_operation(self) -> BaseModel | None:
        """Return the next message, or None if the client has gone, which leaves the session as it was."""
        try:
            return self._wire.receive().message
        except WireError:
            raise
        except ConnectionBroken:
            return None

    def _operate(self, session: FileSession, message: BaseModel, content: Iterator[bytes]) -> int:
        """Do one thing with files and return its result."""
        match message:
            case messages.WriteFile(path=path, size=size):
                session.write(path, content, size, lambda _done: None)
            case messages.ReadFile(path=path, offset=offset, limit=limit):
                return session.read(path, offset, self._send_block, limit)
            case messages.FileSize(path=path):
                return session.size(path)
            case messages.IsDirectory(path=path):
                return session.is_directory(path)
            case messages.RenameFile(path=path, new_path=new_path):
                session.rename(path, new_path)
            case messages.RemoveFile(path=path):
                session.remove(path)
            case _:
                raise unexpected(message)
        return 0

    def _content(self, stream: messages.Stream) -> Iterator[bytes]:
        """Receive raw bytes until their end."""
        while True:
            match self._wire.receive():
                case messages.Content(stream=found), content if found == stream:
                    yield content
                case messages.End(), _:
                    return
                case message, _:
                    raise unexpected(message)

    def _send_block(self, block: bytes, size: int) -> None:
        self._wire.send(messages.Content(stream="file", size=size), block)

    def _waiting(self) -> None:
        self._wire.send(messages.Waiting())

    def _running(self) -> None:
        now = time.monotonic()
        if now >= self._next_pulse:
            self._next_pulse = now + _PULSE
            self._wire.send(messages.Running())
