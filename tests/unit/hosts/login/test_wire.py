from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from jfr_mp.errors import ConfigError, HostError, HostUnreachable, JfrMpError, LoginNeeded, SchedulerError
from jfr_mp.hosts.login import broker_messages as messages
from jfr_mp.hosts.login.wire import MAX_CONTENT, MAX_MESSAGE, Wire, WireError
from jfr_mp.hosts.ssh.endpoint import Endpoint
from jfr_mp.hosts.ssh.interface import ConnectionBroken
from jfr_mp.hosts.ssh.questions import Question


@pytest.fixture
def wires() -> Iterator[tuple[Wire, Wire]]:
    near, far = socket.socketpair()
    with near, far:
        yield Wire(near), Wire(far)


GATEWAY = Endpoint("gate", 22, "me", "gate", password="s3cret")
ENDPOINT = Endpoint(
    "host",
    2222,
    "me",
    "[host]:2222",
    key_files=(Path("/key"),),
    gateway=GATEWAY,
    known_hosts=(Path("/a"), Path("/b")),
    environment={"A": "é"},
    options={"compress": True, "disabled_algorithms": {"keys": ["ssh-rsa"]}},
)


@pytest.mark.parametrize(
    "message",
    [
        messages.LoginOrder(endpoint=ENDPOINT, known_hosts=Path("/k"), socket=Path("/s")),
        messages.Asked(question=Question("me@host", "", "Hello", (("Code: ", False), ("Name: ", True)))),
        messages.Answers(answers=["1\n2", "é"]),
        messages.Run(line="echo", limit=0.5, environment=None),
        messages.FileError(errno=None, text="Failure"),
    ],
    ids=lambda message: message.kind,
)
def test_a_message_arrives_as_it_was(wires: tuple[Wire, Wire], message: messages.BaseMessage) -> None:
    near, far = wires
    near.send(message, b"raw\0")
    assert far.receive() == (message, b"raw\0")


def test_content_of_any_length(wires: tuple[Wire, Wire]) -> None:
    near, far = wires
    near.send_content("stdout", b"x" * (MAX_CONTENT + 1))
    near.send_content("stdout", b"")
    near.send(messages.End())
    assert [len(far.receive().content) for _ in range(3)] == [MAX_CONTENT, 1, 0]


def frame(message: bytes, content: bytes = b"") -> bytes:
    return struct.pack("!II", len(message), len(content)) + message + content


@pytest.mark.parametrize(
    "received",
    [
        frame(b'{"version": 2, "kind": "presence"}'),
        frame(b'{"version": 1, "kind": "presence", "more": 1}'),
        frame(b'{"version": 1, "kind": "s3cret"}'),
        frame(b'{"version": 1, "kind": "answers", "answers": "s3cret"}'),
        frame(b'{"version": 1, "kind": "login_order", "endpoint": {"password": "s3cret"}}'),
        frame(b"s3cret"),
        frame(b"[" * 100_000),
        frame(b"\x80\x04K\x01."),
        frame(b"{}", b"s3cret"),
        struct.pack("!II", MAX_MESSAGE + 1, 0),
        struct.pack("!II", 1, MAX_CONTENT + 1),
    ],
)
def test_what_cannot_be_understood_is_refused_without_being_shown(wires: tuple[Wire, Wire], received: bytes) -> None:
    near, far = wires
    near.socket.sendall(received)
    with pytest.raises(WireError) as caught:
        far.receive()
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_message_that_comes_at_the_wrong_time(wires: tuple[Wire, Wire]) -> None:
    near, far = wires
    near.send(messages.Answers(answers=["s3cret"]))
    with pytest.raises(WireError, match="unexpected message of the login broker: Answers"):
        far.expect(messages.Granted, messages.Waiting)


@pytest.mark.parametrize("size", [MAX_MESSAGE, 2 * MAX_MESSAGE])
def test_what_is_too_large_is_not_sent(wires: tuple[Wire, Wire], size: int) -> None:
    near, far = wires
    with pytest.raises(HostError, match="too large"):
        near.send(messages.Run(line="x" * size, limit=1, environment=None))
    with pytest.raises(HostError, match="too large"):
        near.send(messages.End(), b"x" * (MAX_CONTENT + 1))
    assert not far.has_arrived()


def test_closing_is_understood_from_any_version(wires: tuple[Wire, Wire]) -> None:
    near, far = wires
    near.socket.sendall(frame(b'{"version": 99, "kind": "close", "more": true}'))
    assert isinstance(far.receive().message, messages.Close)


def test_the_end_of_the_other_side(wires: tuple[Wire, Wire]) -> None:
    near, far = wires
    near.socket.sendall(b"\0\0")
    near.close()
    assert far.has_arrived()
    with pytest.raises(ConnectionBroken):
        far.receive()
    with pytest.raises(ConnectionBroken):
        far.send(messages.Granted(), b"x" * MAX_CONTENT)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (HostError("why", permanent=True), HostError),
        (HostUnreachable("why"), HostUnreachable),
        (LoginNeeded("why"), LoginNeeded),
        (ConfigError("why"), ConfigError),
        (SchedulerError("why"), JfrMpError),
    ],
)
def test_errors_arrive_as_what_they_are(error: JfrMpError, kind: type[JfrMpError]) -> None:
    back = messages.Refused.by(error).to_error()
    assert (type(back), str(back)) == (kind, "why")
    assert getattr(back, "permanent", False) is getattr(error, "permanent", False)


def test_errors_about_files_arrive_as_what_they_are() -> None:
    assert isinstance(messages.FileError.by(FileNotFoundError(2, "none")).to_error(), FileNotFoundError)
    vague = messages.FileError.by(OSError("Failure")).to_error()
    assert (vague.errno, str(vague)) == (None, "Failure")


def test_secrets_are_not_shown() -> None:
    order = messages.LoginOrder(endpoint=GATEWAY, known_hosts=Path("/k"), socket=Path("/s"))
    assert "s3cret" not in repr(order)
    assert "s3cret" not in repr(messages.Answers(answers=["s3cret"]))
