from __future__ import annotations

import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from jfr_mp.errors import LoginNeeded
from jfr_mp.hosts.login import broker_messages as messages
from jfr_mp.hosts.login.lent_connection import LentConnection
from jfr_mp.hosts.login.wire import Wire
from jfr_mp.hosts.ssh.interface import ConnectionBroken


class FakeBroker:
    """Answers each client with the same bytes, or grants what it asks for, and leaves."""

    def __init__(self, path: Path) -> None:
        self.answer = b""
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._clients: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._clients.append(client)
            wire = Wire(client)
            wire.receive()
            if self.answer:
                client.sendall(self.answer)
            else:
                wire.send(messages.Waiting())
                wire.send(messages.Granted())

    def leave(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for client in self._clients:
            client.close()


@pytest.fixture
def path() -> Iterator[Path]:
    # The address of a Unix socket is short.
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory, "s")


@pytest.fixture
def broker(path: Path) -> Iterator[FakeBroker]:
    broker = FakeBroker(path)
    yield broker
    broker.leave()


def test_without_a_broker_a_login_is_needed(path: Path) -> None:
    with pytest.raises(LoginNeeded, match="cluster: a login is needed: jfr-mp connect cluster"):
        LentConnection("cluster", path)


@pytest.mark.parametrize("answer", [b"\0" * 8, b"rubbish that is no frame"])
def test_a_broker_of_another_version(broker: FakeBroker, path: Path, answer: bytes) -> None:
    broker.answer = answer
    with pytest.raises(LoginNeeded, match=r"another version .* jfr-mp connect --close cluster, then log in again"):
        LentConnection("cluster", path)


def test_a_broker_that_hangs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jfr_mp.hosts.login.lent_connection._BROKER_PATIENCE", 0.05)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        with pytest.raises(LoginNeeded):
            LentConnection("cluster", path)


def test_the_end_of_the_broker(broker: FakeBroker, path: Path) -> None:
    # Given a connection with a session that is open, and one that waits
    connection = LentConnection("cluster", path)
    assert connection.is_alive
    signals: list[None] = []
    with connection.files(lambda: signals.append(None)) as session:
        assert len(signals) == 1
        # When the broker exits
        broker.leave()
        # Then that is an error of the connection
        with pytest.raises(ConnectionBroken):
            session.size("/file")
    assert not connection.is_alive
    with pytest.raises(ConnectionBroken), connection.commands(lambda: None):
        pytest.fail("there is no session")
    connection.close()
