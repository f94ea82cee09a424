from __future__ import annotations

import threading
from typing import Any

import pytest

from jfr_mp.errors import HostUnreachable
from jfr_mp.hosts.ssh.interface import CommandSession, ConnectionBroken, RemoteCommand
from jfr_mp.hosts.ssh.link import Link


def echo(session: CommandSession, _watchdog: Any) -> bytes:
    return session.run(RemoteCommand("echo in", 60), lambda: None).stdout


def test_one_connection_serves_all(link: Link, breaks: Any) -> None:
    assert not link.is_connected
    for _ in range(3):
        assert link.with_commands(echo, may_repeat=lambda: False) == b"in\n"
    assert len(breaks.connections) == 1
    link.close()
    assert not link.is_connected
    assert not breaks.connections[0].is_alive


def test_a_connection_that_broke_is_opened_again_and_the_work_repeated(link: Link, breaks: Any) -> None:
    breaks.left = 1
    assert link.with_commands(echo, may_repeat=lambda: True) == b"in\n"
    assert [connection.is_alive for connection in breaks.connections] == [False, True]


@pytest.mark.parametrize(("left", "may_repeat", "connections"), [(1, False, 1), (2, True, 2)])
def test_work_is_repeated_once_and_only_if_it_may(
    link: Link, breaks: Any, left: int, may_repeat: bool, connections: int
) -> None:
    breaks.left = left
    with pytest.raises(HostUnreachable, match="here: the connection broke: a cable was pulled"):
        link.with_commands(echo, may_repeat=lambda: may_repeat)
    assert len(breaks.connections) == connections


def test_work_that_makes_no_progress_is_aborted(link: Link) -> None:
    # Given work that ends only when the connection is closed
    def hang(_session: CommandSession, _watchdog: Any) -> None:
        connection = link.connect()
        ended = threading.Event()
        while connection.is_alive:
            ended.wait(0.01)
        raise ConnectionBroken("closed")

    # Then it is not repeated, and the error says how long nothing moved
    with pytest.raises(HostUnreachable, match=r"here: no answer within 0\.05 s"):
        link.with_commands(hang, may_repeat=lambda: True, patience=0.05)


def test_errors_of_files_are_passed_on(link: Link, breaks: Any) -> None:
    with pytest.raises(FileNotFoundError):
        link.with_files(lambda session, _: session.size("/nowhere"))
    assert breaks.connections[0].is_alive
