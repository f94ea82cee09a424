"""The frames that go over the sockets of a login broker.

A frame is a heading (two lengths), a message as JSON, and raw bytes, which most messages do not have. Nothing is read
that is larger than a frame may be, and pydantic validates every message.
"""

from __future__ import annotations

import select
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from jfr_mp.errors import HostError
from jfr_mp.hosts.login.broker_messages import BrokerMessage, Content, Stream
from jfr_mp.hosts.ssh.interface import ConnectionBroken

#: The most bytes in a message, and in the raw bytes that go with it; larger contents are sent in several frames.
MAX_MESSAGE, MAX_CONTENT = 2**20, 2**16

_HEADING = struct.Struct("!II")
# Some messages carry secrets, so errors must not show what was read.
_ADAPTER: TypeAdapter[BaseModel] = TypeAdapter(BrokerMessage, config=ConfigDict(hide_input_in_errors=True))

M = TypeVar("M", bound=BaseModel)


class WireError(ConnectionBroken):
    """The other side does not speak this version of the protocol."""


class Frame(NamedTuple):
    """A message and the raw bytes that came with it."""

    message: BaseModel
    content: bytes


class Wire:
    """Sends and receives messages over a stream socket. One thread at a time may send, and one receive.

    ConnectionBroken says that the other side has gone, WireError that it sent something that cannot be understood,
    HostError that a message is too large to be sent.

    Parameters
    ----------
    opened
        The socket, connected; closed with the wire.
    """

    def __init__(self, opened: socket.socket) -> None:
        self.socket = opened

    def send(self, message: BaseModel, content: bytes = b"") -> None:
        """Send a message with raw bytes."""
        encoded = message.model_dump_json().encode()
        if len(encoded) > MAX_MESSAGE or len(content) > MAX_CONTENT:
            # Sending it again would not help.
            raise HostError(f"a message of {len(encoded)} bytes is too large for the login broker", permanent=True)
        with _gone():
            self.socket.sendall(_HEADING.pack(len(encoded), len(content)) + encoded + content)

    def send_content(self, stream: Stream, content: bytes) -> None:
        """Send raw bytes of any length."""
        for start in range(0, len(content), MAX_CONTENT):
            self.send(Content(stream=stream), content[start : start + MAX_CONTENT])

    def receive(self) -> Frame:
        """Wait for the next message and return it with its raw bytes."""
        message_size, content_size = _HEADING.unpack(self._read(_HEADING.size))
        if message_size > MAX_MESSAGE or content_size > MAX_CONTENT:
            raise WireError("a message of the login broker or its client is too large")
        encoded, content = self._read(message_size), self._read(content_size)
        try:
            return Frame(_ADAPTER.validate_json(encoded), content)
        except ValidationError:
            # Neither the cause nor the text may show what was read: it can be a secret.
            raise WireError("a message of the login broker or its client is invalid, or of another version") from None

    def expect(self, *kinds: type[M]) -> M:
        """Wait for the next message, which must be of one of these kinds and have no raw bytes."""
        message, content = self.receive()
        if not isinstance(message, kinds) or content:
            raise unexpected(message)
        return message

    def has_arrived(self, timeout: float = 0.0) -> bool:
        """Whether something can be received within so many seconds, the end of the other side included."""
        return bool(select.select([self.socket], [], [], timeout)[0])

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()

    def shut_down(self) -> None:
        """End both directions; unlike `close` this wakes a thread that waits for the socket."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def _read(self, size: int) -> bytes:
        content = bytearray()
        with _gone():
            while len(content) < size:
                block = self.socket.recv(size - len(content))
                if not block:
                    raise EOFError
                content += block
        return bytes(content)


@contextmanager
def _gone() -> Iterator[None]:
    """Raise ConnectionBroken if the other side has gone."""
    try:
        yield
    except (OSError, EOFError) as error:
        raise ConnectionBroken("the login broker has exited") from error


def unexpected(message: BaseModel) -> WireError:
    """Return the error for a message that cannot come now."""
    return WireError(f"unexpected message of the login broker: {type(message).__name__}")
