"""The gate on a real socket: who holds a key of the project is served, and a stranger can do nothing."""

from __future__ import annotations

import logging
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Self

import psutil
import pytest
import zmq

from jfr_mp.bus.gate import RATE, BusGate, command_through_gate
from jfr_mp.bus.inbox import Inbox
from jfr_mp.bus.keys import KeyPair
from jfr_mp.bus.messages import CommandReply, CommandRequest, StatusRequest, encode
from jfr_mp.errors import BusError
from tests.support.processes import free_port
from tests.support.waiting import wait_until


def pair() -> KeyPair:
    public, secret = zmq.curve_keypair()
    return KeyPair(public.decode(), secret.decode())


SERVER, FRIEND, STRANGER = pair(), pair(), pair()
REQUEST = CommandRequest(master="me", name="pause")


class Door:
    """An open gate whose commands are answered by a thread, as a master does."""

    def __init__(self, gate: BusGate, address: str, allowed: set[str]) -> None:
        self.gate, self.address, self.allowed = gate, address, allowed
        self.carried_out: list[str] = []

    def ask(self, keys: KeyPair = FRIEND, request: CommandRequest = REQUEST, timeout: float = 2.0) -> CommandReply:
        return command_through_gate(self.address, SERVER.public, keys, request, timeout)

    def serve(self, until: threading.Event) -> None:
        while not until.wait(0.01):
            for order in self.gate.commands.take():
                self.carried_out.append(order.name)
                self.gate.answer(order, CommandReply(done=True, text="paused"))


@pytest.fixture
def door() -> Iterator[Door]:
    allowed = {FRIEND.public}
    address = f"tcp://127.0.0.1:{free_port()}"
    end = threading.Event()
    with BusGate(address, SERVER, "me", lambda: allowed, Inbox()) as gate:
        found = Door(gate, address, allowed)
        thread = threading.Thread(target=found.serve, args=(end,))
        thread.start()
        yield found
        end.set()
        thread.join()


def _client(door: Door, prepare: Callable[[zmq.Socket[bytes]], None]) -> zmq.Socket[bytes]:
    client: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
    client.linger = 0
    prepare(client)
    client.connect(door.address)
    return client


def _as_friend(client: zmq.Socket[bytes]) -> None:
    client.curve_serverkey = SERVER.public.encode()
    client.curve_secretkey, client.curve_publickey = FRIEND.secret.encode(), FRIEND.public.encode()


def test_a_command_of_a_friend_is_carried_out_once(door: Door) -> None:
    assert door.ask() == CommandReply(done=True, text="paused")
    assert door.carried_out == ["pause"]


def test_a_command_for_another_master_and_other_messages_are_rejected(door: Door) -> None:
    with pytest.raises(BusError, match="for another master"):
        door.ask(request=CommandRequest(master="other", name="stop"))
    with _client(door, _as_friend) as client:
        for message in (encode(StatusRequest()), b"{", b"\xff" * 100):
            client.send(message)
            assert client.poll(2000)
            assert b"rejection" in client.recv()
    assert door.carried_out == []


def test_strangers_can_do_nothing_and_the_log_says_it_once(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    # A key that is not known, a wrong key of the server, and no key at all
    for _ in range(3):
        with pytest.raises(BusError, match="did not answer"):
            door.ask(STRANGER, timeout=0.2)
    with pytest.raises(BusError, match="did not answer"):
        command_through_gate(door.address, STRANGER.public, FRIEND, REQUEST, 0.2)
    with _client(door, lambda _client: None) as client:
        client.send(encode(REQUEST))
        assert not client.poll(200)
    # Bytes that are no ZeroMQ, and half a greeting
    host, port = door.address.removeprefix("tcp://").split(":")
    for garbage in (os.urandom(4096), b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03"):
        with socket.create_connection((host, int(port))) as raw:
            raw.sendall(garbage)
    # Then a friend is served, and nothing else happened
    assert door.ask().done
    assert door.carried_out == ["pause"]
    assert len([entry for entry in caplog.records if "refused" in entry.message]) == 1


def test_a_key_that_is_revoked_is_refused_on_open_connections_too(door: Door) -> None:
    with _client(door, _as_friend) as client:
        client.send(encode(REQUEST))
        assert client.poll(2000)
        client.recv()
        # When
        door.allowed.clear()
        client.send(encode(REQUEST))
        # Then
        assert not client.poll(300)
    with pytest.raises(BusError, match="did not answer"):
        door.ask(timeout=0.2)
    assert door.carried_out == ["pause"]


class Recorder:
    """A relay in front of a gate, which keeps what a client sends."""

    def __init__(self, gate: tuple[str, int]) -> None:
        self.sent = b""
        self._gate = gate
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._relay)

    def _relay(self) -> None:
        client, _ = self._listener.accept()
        with client, socket.create_connection(self._gate) as gate:
            while True:
                for ready in select.select([client, gate], [], [], 10)[0]:
                    if not (data := ready.recv(65536)):
                        return
                    self.sent += data if ready is client else b""
                    (gate if ready is client else client).sendall(data)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()
        self._listener.close()


def test_a_recorded_command_cannot_be_replayed(door: Door) -> None:
    # Given everything that a friend has sent for one command
    host, port = door.address.removeprefix("tcp://").split(":")
    with Recorder((host, int(port))) as recorder:
        assert command_through_gate(recorder.address, SERVER.public, FRIEND, REQUEST, 5.0).done
    assert len(recorder.sent) > 300
    # When it is sent again, at once and message by message
    for size in (len(recorder.sent), 64):
        with socket.create_connection((host, int(port)), timeout=0.5) as replay:
            try:
                for start in range(0, len(recorder.sent), size):
                    replay.sendall(recorder.sent[start : start + size])
                while replay.recv(4096):
                    pass
            except OSError:  # the gate closes the connection, or waits for a handshake that does not come
                pass
    # Then the command is not carried out again, and another one is
    assert door.ask(request=CommandRequest(master="me", name="resume")).done
    assert door.carried_out == ["pause", "resume"]


def test_floods_cost_neither_memory_nor_commands(door: Door, caplog: pytest.LogCaptureFixture) -> None:
    # Given a holder of a key who sends frames of 10 MB, and 20,000 messages as fast as possible
    memory, begun = psutil.Process().memory_info().rss, time.monotonic()
    with _client(door, _as_friend) as large:
        large.send(b"x" * 10_000_000)
        assert not large.poll(300)
    with _client(door, _as_friend) as flood:
        flood.sndhwm = 0
        for _ in range(20_000):
            flood.send(encode(REQUEST))
        wait_until(lambda: len(door.carried_out) > RATE, 10, "some of the commands")
        # Then they are carried out at the rate of the gate, and the others wait at their sender
        assert len(door.carried_out) <= RATE * (time.monotonic() - begun + 2)
    assert psutil.Process().memory_info().rss - memory < 100 * 2**20
    wait_until(lambda: _served(door), 20, "the service of others")
    # And the log names the key, once
    (said,) = [entry.getMessage() for entry in caplog.records if "messages a second" in entry.getMessage()]
    assert FRIEND.public in said


def _served(door: Door) -> bool:
    try:
        return door.ask(timeout=2.0).done
    except BusError:
        return False


def test_an_address_in_use_is_an_error(door: Door) -> None:
    with pytest.raises(BusError, match="cannot listen"):
        BusGate(door.address, SERVER, "me", set, Inbox())
