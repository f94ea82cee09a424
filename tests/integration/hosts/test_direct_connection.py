"""A connection of this process, where paramiko's threads and the host race."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from paramiko import Channel, Transport
from paramiko.common import MSG_CHANNEL_DATA, MSG_CHANNEL_EOF

from jfr_mp.config.workers import RemoteWorker
from jfr_mp.errors import HostUnreachable
from jfr_mp.hosts.ssh.direct_connection import DirectConnection
from jfr_mp.hosts.ssh.interface import RemoteCommand
from jfr_mp.hosts.ssh.known_hosts import KNOWN_HOSTS
from jfr_mp.hosts.ssh.route import Route
from jfr_mp.hosts.ssh.ssh_config import endpoints
from tests.support.sshd import Sshd


@pytest.fixture
def connect(tmp_path: Path, home: Path) -> Callable[[Sshd], DirectConnection]:
    def connect(server: Sshd) -> DirectConnection:
        ((_, endpoint),) = endpoints(RemoteWorker.model_validate(server.worker(tmp_path)))
        return Route(tmp_path / KNOWN_HOSTS).connect(endpoint)

    return connect


@pytest.fixture
def connection(connect: Callable[[Sshd], DirectConnection], own_sshd: Sshd) -> Iterator[DirectConnection]:
    with closing(connect(own_sshd)) as connection:
        yield connection


@pytest.mark.parametrize(
    ("late", "stdin"), [(MSG_CHANNEL_EOF, b""), (MSG_CHANNEL_EOF, b"x"), (MSG_CHANNEL_DATA, b"x" * 100_000)]
)
def test_a_command_that_ends_while_its_input_is_sent(
    connection: DirectConnection, own_sshd: Sshd, monkeypatch: pytest.MonkeyPatch, late: int, stdin: bytes
) -> None:
    # Given a thread that is slow to send a message, such as the end of the input: the command is faster
    send: Callable[[Transport, Any], None] = getattr(Transport, "_send_user_message")  # noqa: B009 (private)
    channels: list[Channel] = []
    is_late: list[bool] = []

    def slow(transport: Transport, message: Any) -> None:
        if message.asbytes()[0] == late and not is_late:
            is_late.append(True)
            deadline = time.monotonic() + 20
            while not channels[0].closed and time.monotonic() < deadline:
                time.sleep(0.01)
            # The answer to the host's CLOSE is sent meanwhile, if paramiko does it.
            time.sleep(0.2)
        send(transport, message)

    open_session = Transport.open_session

    def opened(transport: Transport, *args: Any, **options: Any) -> Channel:
        channels.append(open_session(transport, *args, **options))
        return channels[-1]

    monkeypatch.setattr(Transport, "_send_user_message", slow)
    monkeypatch.setattr(Transport, "open_session", opened)

    # When the command runs
    with connection.commands(lambda: None) as session:
        done = session.run(RemoteCommand("exec echo done", 60, stdin), lambda: None)

    # Then it has ended well, and so have others after it, on the same connection
    assert done.stdout == b"done\n"
    assert is_late
    for number in range(5):
        with connection.commands(lambda: None) as session:
            assert session.run(RemoteCommand(f"exit {number}", 60), lambda: None).returncode == number
    assert connection.is_alive
    assert "nonexistent channel" not in own_sshd.log


def test_a_host_that_allows_no_session(
    connect: Callable[[Sshd], DirectConnection], own_sshd: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jfr_mp.hosts.ssh.direct_connection._SESSION_PATIENCE", 0.5)
    own_sshd.reconfigure(MaxSessions="0")
    with closing(connect(own_sshd)) as connection:
        with pytest.raises(HostUnreachable, match="the host allows no further session"):
            connection.commands(lambda: None).__enter__()
        assert connection.is_alive
