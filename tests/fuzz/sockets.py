"""What a client sends to the metrics address, and a master to the process that keeps several of them."""

from __future__ import annotations

import socket
import sys
import tempfile
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, make_wsgi_app

from jfr_mp.config import Project
from jfr_mp.supervisor.lifecycle import ChildState, State
from jfr_mp.supervisor.metrics_server import MetricsServer
from jfr_mp.supervisor.several import _Master

#: Bytes that an answer may have, and seconds that it may take.
_LARGEST, _SLOWEST = 200_000, 20.0
_PROJECT = Project.model_validate({"name": "p", "queue": {}, "workers": {}})
_GOOD = b"GET /metrics HTTP/1.0\r\n\r\n"


class _Server(MetricsServer):
    """A server that keeps the errors of its threads."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        Gauge("jfr_mp_jobs", "Jobs.", ("state",), registry=registry).labels("READY").set(5)
        self.errors: list[BaseException | None] = []
        super().__init__("127.0.0.1", 0, make_wsgi_app(registry))

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keep an error that the server would report."""
        if not isinstance(sys.exception(), OSError):
            self.errors.append(sys.exception())

    def ask(self, request: bytes) -> bytes:
        """Return what the server answers to a request; nothing if it closes the connection."""
        with closing(socket.create_connection(("127.0.0.1", self.server_port), timeout=_SLOWEST)) as client:
            try:
                client.sendall(request)
                client.shutdown(socket.SHUT_WR)
                answer = b""
                while (part := client.recv(65_536)) and len(answer) < _LARGEST:
                    answer += part
            except (BrokenPipeError, ConnectionResetError):
                # The server has closed it before it has read everything.
                return b""
        return answer


@cache
def _server() -> _Server:
    return _Server()


def http(data: bytes, _directory: Any) -> None:
    """Any request is answered with a metric or a refusal, and the next one as well."""
    server = _server()
    answer = server.ask(data)
    assert not server.errors, server.errors.pop()
    assert len(answer) < _LARGEST
    assert b" 500 " not in answer.split(b"\r\n")[0]
    assert b"\r\n\r\n" in server.ask(_GOOD)


def reports(data: bytes, _directory: Any) -> None:
    """A datagram makes a master ready or not, and nothing else of it."""
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        master = _Master(_PROJECT, ["never-started"], Path(directory))
        with closing(master.reports), closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as sender:
            master.life = ChildState(State.STARTING)
            sender.sendto(data[:60_000], str(master.reports.getsockname()))
            master.turn()
            assert master.life.state in (State.STARTING, State.RUNNING)
            assert b"READY=1" in data or master.life.state is State.STARTING
