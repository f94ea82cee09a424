"""The HTTP server of the metrics: a client must not be able to use up what the master needs.

A connection costs a thread and a file descriptor of the master. There are few at a time, each must send its request
soon and be over soon, and those beyond are closed at once.
"""

from __future__ import annotations

import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

#: Connections at a time, and seconds that each may be silent and may take as a whole: a client that sends a byte every
#: second is never silent.
MOST_CLIENTS, SILENCE, WHOLE = 16, 5.0, 60.0


class MetricsServer(socketserver.ThreadingMixIn, WSGIServer):
    """Serves a WSGI application in threads of its own.

    Parameters
    ----------
    host, port
        Where it listens.
    application
        The application.

    Raises
    ------
    OSError
        It cannot listen there.
    """

    daemon_threads = True

    def __init__(self, host: str, port: int, application: Callable[..., Any]) -> None:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        self.address_family, _, _, _, address = found[0]
        self._free = threading.BoundedSemaphore(MOST_CLIENTS)
        self._begun: dict[socket.socket, float] = {}
        super().__init__(address[:2], _Handler)  # type: ignore[arg-type]  # the host of any family is a text
        self.set_app(application)
        threading.Thread(target=self.serve_forever, name="metrics", daemon=True).start()

    def server_bind(self) -> None:
        """Bind without asking a name server for the name of the host."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = map(str, self.server_address[:2])  # type: ignore[assignment]
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Begin a thread for a connection, or close it if there are too many."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        self._begun[request] = time.monotonic()
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._over(request)
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer the requests of a connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._over(request)

    def service_actions(self) -> None:
        """Cut the connections that take too long; it is called twice a second."""
        for request, begun in tuple(self._begun.items()):
            if time.monotonic() - begun > WHOLE:
                with suppress(OSError):
                    request.shutdown(socket.SHUT_RDWR)

    def _over(self, request: socket.socket) -> None:
        del self._begun[request]
        self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Pass over clients that go away or keep silent; report anything else."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(WSGIRequestHandler):
    timeout = SILENCE

    def log_message(self, *_: Any) -> None:
        """Log nothing: a client cannot fill the log."""
