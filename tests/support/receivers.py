"""Servers that receive what jfr-mp sends, such as a webhook and a mail server, and can keep a sender waiting."""

from __future__ import annotations

import asyncio
import email
import json
import socket
from abc import ABC, abstractmethod
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any, Self

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.support.processes import free_port
from tests.support.waiting import LOOK_EVERY

#: The state of a connection in `struct tcp_info` of Linux.
_ESTABLISHED = 1


class Gate:
    """Keeps senders waiting while it is closed.

    Attributes
    ----------
    arrived
        Set as soon as a sender waits.
    """

    def __init__(self) -> None:
        self.arrived = Event()
        self._open = Event()
        self.open()

    def close(self) -> None:
        """Have the next senders wait."""
        self.arrived.clear()
        self._open.clear()

    def open(self) -> None:
        """Let all senders go on."""
        self._open.set()

    def wait(self) -> None:
        """Wait, in a thread of a server."""
        if not self._open.is_set():
            self.arrived.set()
            self._open.wait(60)

    async def wait_async(self) -> None:
        """Wait, in an event loop."""
        while not self._open.is_set():
            self.arrived.set()
            await asyncio.sleep(LOOK_EVERY)


class WebServer(ABC):
    """A web server that takes what is posted to it; as a context manager it runs.

    Attributes
    ----------
    gate
        Keeps its clients waiting.
    address
        Its host and port.
    """

    def __init__(self) -> None:
        self.gate = Gate()
        web_server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                web_server.gate.wait()
                # What a client sent that has died meanwhile is not taken.
                if not _is_connected(self.connection):
                    return
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(web_server.take(self.path, dict(self.headers), body))
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Print nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"127.0.0.1:{self._server.server_port}"

    @abstractmethod
    def take(self, path: str, headers: dict[str, str], body: bytes) -> int:
        """Take what a client has posted, and return the HTTP status of the answer."""

    def __enter__(self) -> Self:
        Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.gate.open()
        self._server.shutdown()
        self._server.server_close()


class Webhook(WebServer):
    """Accepts JSON.

    Attributes
    ----------
    received
        What it has accepted.
    """

    def __init__(self) -> None:
        super().__init__()
        self.received: list[dict[str, Any]] = []

    def take(self, path: str, headers: dict[str, str], body: bytes) -> int:
        """Accept a message."""
        self.received.append({**json.loads(body), "path": path})
        return 200

    @property
    def bodies(self) -> list[str]:
        """The texts of all messages."""
        return [each["message"] for each in self.received]

    def url(self, secret: str) -> str:
        """Return its URL for apprise."""
        return f"json://{self.address}/{secret}"


class MailServer:
    """A server for mail; as a context manager it runs.

    Attributes
    ----------
    received
        The mails that it has accepted.
    """

    def __init__(self) -> None:
        self.gate = Gate()
        self.received: list[Message] = []
        self._controller = Controller(self, hostname="127.0.0.1", port=free_port())

    async def handle_RCPT(self, server: SMTP, session: Session, envelope: Envelope, address: str, _: list[str]) -> str:
        """Keep the sender waiting, before it has sent the text."""
        await self.gate.wait_async()
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """Accept a mail."""
        assert isinstance(envelope.content, bytes)
        self.received.append(email.message_from_bytes(envelope.content))
        return "250 OK"

    @property
    def bodies(self) -> list[str]:
        """The texts of all mails."""
        parts = (part for mail in self.received for part in mail.walk() if part.get_content_type() == "text/plain")
        return [payload.decode() for part in parts if isinstance(payload := part.get_payload(decode=True), bytes)]

    def url(self, user: str) -> str:
        """Return its URL for apprise."""
        port = self._controller.port
        return f"mailto://127.0.0.1:{port}?from={user}@example.org&to=group@example.org&mode=insecure&format=text"

    def __enter__(self) -> MailServer:
        self._controller.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.gate.open()
        self._controller.stop()


def _is_connected(connection: socket.socket) -> bool:
    """Return whether the client has not closed its end, as a client that was killed has."""
    return connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == _ESTABLISHED
