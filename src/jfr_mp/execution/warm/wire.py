"""The messages between a warm client and its server.

A message is a list of fields, each behind its length in four bytes; the message itself is behind its length, too. The
request carries the open files of the client. The server answers with the pid of the child, or says why it refuses; when
the child has ended, it says how.

Like all modules that the client imports, this one imports built-in modules alone, so that the client starts at once.
"""

from __future__ import annotations

import _socket
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: The one field of a message by which a server is told to take no more jobs.
RETIRE = b"retire"
#: The most files that one message can carry.
MOST_FILES = 250
#: The most bytes of a request: arguments and environment of a process are limited to less.
_LONGEST = 16 * 2**20


def pack(fields: Iterable[bytes]) -> bytes:
    """Return fields as one: each behind its length in four bytes."""
    return b"".join(len(field).to_bytes(4, "big") + field for field in fields)


def unpack(message: bytes) -> list[bytes]:
    """Return the fields of a message.

    Raises
    ------
    ValueError
        The message was cut off.
    """
    fields, at = [], 0
    while at < len(message):
        end = at + 4 + int.from_bytes(message[at : at + 4], "big")
        if end > len(message):
            raise ValueError("a message was cut off")
        fields.append(message[at + 4 : end])
        at = end
    return fields


def send(connection: _socket.socket, fields: Iterable[bytes], files: Sequence[int] = ()) -> None:
    """Send a message, and open files with it."""
    message = pack([pack(fields)])
    numbers = b"".join(number.to_bytes(4, sys.byteorder) for number in files)
    ancillary = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, numbers)] if files else []
    sent = connection.sendmsg([message], ancillary)
    connection.sendall(message[sent:])


def receive(connection: _socket.socket) -> tuple[list[bytes], list[int]]:
    """Return the next message and the files that came with it; no fields if the connection was closed.

    Raises
    ------
    ValueError
        The message is too long or was cut off.
    """
    head, files = _first(connection)
    try:
        size = int.from_bytes(head + _exactly(connection, 4 - len(head)), "big")
        if size > _LONGEST:
            raise ValueError(f"a message of {size} bytes is too long")
        return unpack(_exactly(connection, size)), files
    except (EOFError, ConnectionResetError):
        return [], files


def _first(connection: _socket.socket) -> tuple[bytes, list[int]]:
    """Return the beginning of a message, with which its files come."""
    space = _socket.CMSG_SPACE(4 * MOST_FILES)
    try:
        head, ancillary, _, _ = connection.recvmsg(4, space, _socket.MSG_CMSG_CLOEXEC)
    except ConnectionResetError:
        return b"", []
    files: list[int] = []
    for level, kind, content in ancillary:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            usable = len(content) - len(content) % 4
            files += [int.from_bytes(content[at : at + 4], sys.byteorder) for at in range(0, usable, 4)]
    return head, files


def _exactly(connection: _socket.socket, size: int) -> bytes:
    content = b""
    while len(content) < size:
        part = connection.recv(size - len(content))
        if not part:
            raise EOFError
        content += part
    return content
