"""The bus over real sockets: a server in this thread, and its clients."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from jfr_mp.bus.client import MasterClient, RoleBus
from jfr_mp.bus.messages import (
    CommandReply,
    CommandRequest,
    ConditionReport,
    Drain,
    Goodbye,
    MasterStatus,
    Message,
    Register,
    Rejection,
    SetLogLevel,
    StatusReply,
    StatusRequest,
)
from jfr_mp.bus.paths import RunDir
from jfr_mp.bus.server import BusServer
from jfr_mp.config import LogLevel
from jfr_mp.errors import BusError
from jfr_mp.model import Condition
from jfr_mp.states import JobState
from jfr_mp.step_table import Role
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(30)

OWNER = "here:7:aa"


@pytest.fixture
def run_dir() -> Iterator[Path]:
    """Short: the paths of sockets have little room."""
    with tempfile.TemporaryDirectory(prefix="jfr-mp-", dir="/tmp") as path:
        yield Path(path)


@pytest.fixture
def server(run_dir: Path) -> Iterator[BusServer]:
    with BusServer(RunDir(run_dir)) as server:
        yield server


@pytest.fixture
def connect(run_dir: Path, server: BusServer) -> Iterator[Callable[..., RoleBus]]:
    opened: list[RoleBus] = []

    def connect(owner: str = OWNER, wake_on: tuple[JobState, ...] = ()) -> RoleBus:
        opened.append(RoleBus.connect(run_dir, "transfer-1", Role.TRANSFER, owner, wake_on))
        return opened[-1]

    yield connect
    for bus in opened:
        bus.close()


def receive(server: BusServer, count: int) -> list[Message]:
    received: list[Message] = []

    def come() -> bool:
        server.wait(0.02)
        received.extend(letter.message for letter in server.receive())
        return len(received) >= count

    wait_until(come, 10, f"{count} messages")
    return received


def wait_for_states(server: BusServer, bus: RoleBus, act: Callable[[], None]) -> set[JobState]:
    """Act until something arrives: the first events after a connection may be lost."""
    seen: set[JobState] = set()

    def come() -> bool:
        act()
        server.wait(0.02)
        list(server.receive())
        seen.update(bus.wait(0.02))
        return bool(seen)

    wait_until(come, 10, "a wake-up")
    return seen


def test_messages_of_a_role_process_arrive_in_order(server: BusServer, connect: Callable[..., RoleBus]) -> None:
    # When
    bus = connect()
    bus.report(Condition(last_error="no luck"))
    bus.close("told to")
    # Then
    assert receive(server, 3) == [
        Register(name="transfer-1", role=Role.TRANSFER, pid=os.getpid(), owner=OWNER),
        ConditionReport(condition=Condition(last_error="no luck")),
        Goodbye(reason="told to"),
    ]


def test_commands_reach_the_process_that_they_are_for(server: BusServer, connect: Callable[..., RoleBus]) -> None:
    # Given
    stopped, other = connect("here:7:aa"), connect("here:8:bb")
    receive(server, 2)
    levels: list[LogLevel] = []
    other.on_log_level = levels.append
    # When
    server.send(b"here:7:aa", Drain())
    server.send(b"here:8:bb", SetLogLevel(level=LogLevel.DEBUG))
    # Then
    wait_until(lambda: stopped.wait(1) or stopped.stop_requested, 10, "the command to stop")
    wait_until(lambda: other.wait(1) or levels, 10, "the new level")
    assert (levels, other.stop_requested) == ([LogLevel.DEBUG], False)


def test_a_message_to_a_process_that_has_exited_is_dropped(server: BusServer) -> None:
    server.send(b"gone:1:aa", Drain())


def test_a_wake_up_reaches_the_subscribers_of_its_state(server: BusServer, connect: Callable[..., RoleBus]) -> None:
    # Given
    transfer = connect("a", (JobState.CHECKED_OUT, JobState.RUN_FINISHED))
    queue = connect("b", (JobState.UPLOADED, JobState.RUNNING))
    # When
    seen = wait_for_states(server, queue, lambda: transfer.publish(JobState.UPLOADED))
    # Then
    assert seen == {JobState.UPLOADED}
    assert transfer.wait(0) == set()


def test_a_burst_of_wake_ups_is_one_wake_up(server: BusServer, connect: Callable[..., RoleBus]) -> None:
    # Given
    one, other = connect("a"), connect("b", (JobState.UPLOADED,))
    wait_for_states(server, other, lambda: one.publish(JobState.UPLOADED))
    # When
    for _ in range(500):
        one.publish(JobState.UPLOADED)

    def forwarded() -> bool:
        server.wait(0.1)
        list(server.receive())
        return other.wait(0.1) == {JobState.UPLOADED}

    # Then
    wait_until(forwarded, 10, "the wake-up")


@pytest.mark.parametrize("stop", [False, True])
@pytest.mark.timing
def test_wait_returns_when_another_thread_wakes_or_stops_it(connect: Callable[..., RoleBus], stop: bool) -> None:
    # Given
    bus = connect()
    begun = time.monotonic()
    threading.Timer(0.1, bus.request_stop if stop else bus.wake).start()
    # When
    states = bus.wait(20)
    # Then
    assert (states, bus.stop_requested) == (set(), stop)
    assert time.monotonic() - begun < 10
    if stop:
        bus.wait(20)
        assert time.monotonic() - begun < 10


@pytest.mark.timing
def test_wait_returns_after_its_timeout(connect: Callable[..., RoleBus]) -> None:
    begun = time.monotonic()
    assert connect().wait(0.05) == set()
    assert 0.04 < time.monotonic() - begun < 5


def test_a_role_process_without_a_master_is_not_blocked(run_dir: Path) -> None:
    # Given
    bus = RoleBus.connect(run_dir, "transfer-1", Role.TRANSFER, OWNER, ())
    # When
    for number in range(2000):
        bus.report(Condition(last_error=str(number)))
        bus.publish(JobState.UPLOADED)
    # Then
    assert bus.wait(0) == set()
    bus.close()
    bus.wake()


def answering(server: BusServer, reply: Callable[[Message], Message]) -> Callable[[], list[Message]]:
    """Answer requests in a thread, which owns the server from then on; call the result to stop it."""
    asked: list[Message] = []
    over = threading.Event()

    def serve() -> None:
        while not over.is_set():
            server.wait(0.02)
            for letter in server.receive():
                asked.append(letter.message)
                server.send(letter.sender, reply(letter.message))

    thread = threading.Thread(target=serve)
    thread.start()

    def end() -> list[Message]:
        over.set()
        thread.join(10)
        return asked

    return end


def test_a_client_sends_requests_and_gets_replies(run_dir: Path, server: BusServer) -> None:
    # Given
    status = MasterStatus(host="here", pid=1, state="RUNNING", roles=[])
    end = answering(
        server, lambda m: StatusReply(master=status) if isinstance(m, StatusRequest) else CommandReply(done=True)
    )
    # When
    with MasterClient(RunDir(run_dir)) as client:
        answer = client.status()
        client.command("log-level", level="debug")
        client.command("stop", drain=False)
    # Then
    assert answer == status
    assert end() == [
        StatusRequest(),
        CommandRequest(name="log-level", arguments={"level": "debug"}),
        CommandRequest(name="stop", arguments={"drain": False}),
    ]


def test_a_rejection_is_an_error_with_its_reason(run_dir: Path, server: BusServer) -> None:
    end = answering(server, lambda _: Rejection(why="not on a Sunday"))
    try:
        with MasterClient(RunDir(run_dir)) as client, pytest.raises(BusError, match="not on a Sunday"):
            client.command("stop")
    finally:
        end()


def test_a_message_of_another_version_is_rejected_by_the_server(
    run_dir: Path, server: BusServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = answering(server, lambda _: CommandReply(done=True))
    monkeypatch.setattr("jfr_mp.bus.client.encode", lambda _: b'{"kind": "status_request", "version": 99}')
    try:
        with MasterClient(RunDir(run_dir)) as client, pytest.raises(BusError, match="jfr-mp restart"):
            client.status()
    finally:
        assert end() == []


def test_a_master_that_does_not_answer_is_an_error_after_the_timeout(run_dir: Path) -> None:
    with MasterClient(RunDir(run_dir), timeout=0.1) as client, pytest.raises(BusError, match=r"within 0\.1 s"):
        client.status()


def test_a_bus_that_cannot_be_opened_is_an_error(run_dir: Path) -> None:
    with pytest.raises(BusError, match="cannot open the bus"):
        BusServer(RunDir(run_dir / "missing"))


@pytest.mark.timing
def test_the_server_waits_for_other_file_descriptors_too(server: BusServer) -> None:
    # Given
    reading, writing = os.pipe()
    begun = time.monotonic()
    # When
    os.write(writing, b"!")
    server.wait(20, reading)
    # Then
    assert time.monotonic() - begun < 10
    os.close(reading)
    os.close(writing)


def test_large_and_bad_messages_do_not_disturb_the_others(
    run_dir: Path, server: BusServer, connect: Callable[..., RoleBus], caplog: pytest.LogCaptureFixture
) -> None:
    # Given a sender of messages that are far too large, and of many that mean nothing
    context = zmq.Context()
    with context.socket(zmq.DEALER) as large, context.socket(zmq.DEALER) as bad:
        large.linger = bad.linger = 0
        large.connect(RunDir(run_dir).control)
        bad.connect(RunDir(run_dir).control)
        large.send(b"x" * 5 * 2**20)
        for _ in range(100):
            bad.send(b'{"' + b"k" * 10_000 + b'": 1}')
        # When a role process registers
        connect().report(Condition())
        # Then its messages arrive, and all of the others are one short warning
        assert isinstance(receive(server, 1)[0], Register)
        answers: list[bytes] = []

        def answered() -> bool:
            list(server.receive())
            while bad.poll(0):
                answers.append(bad.recv())
            return len(answers) == 100

        wait_until(answered, 10, "the answers")
    context.term()
    assert all(len(answer) < 1000 for answer in answers)
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == 1
    assert len(warnings[0]) <= 500
