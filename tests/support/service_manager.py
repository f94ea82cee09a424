"""The socket on which systemd listens to its services."""

from __future__ import annotations

import socket
from typing import Self

from tests.support.waiting import wait_until

Message = dict[str, str]


class NotifySocket:
    """A datagram socket that receives what a service reports.

    Parameters
    ----------
    address
        A path, or the name of an abstract socket after an ``@``.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.setblocking(False)
        self.messages: list[Message] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def received(self) -> list[Message]:
        """Return what has arrived since the last call."""
        new: list[Message] = []
        while True:
            try:
                data = self._socket.recv(8192).decode()
            except BlockingIOError:
                self.messages += new
                return new
            new.append(dict(line.partition("=")[::2] for line in data.splitlines()))

    def wait_for(self, key: str, timeout: float = 20.0) -> Message:
        """Return the next message with a key."""

        def come() -> Message | None:
            return next((message for message in self.received() if key in message), None)

        found = wait_until(come, timeout, f"a message with {key}; until now: {self.messages}")
        assert found is not None
        return found
