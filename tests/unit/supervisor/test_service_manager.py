"""What arrives at the socket of a service manager."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from jfr_mp.supervisor.lifecycle import State
from jfr_mp.supervisor.service_manager import ServiceManager, ServiceState, settled, summary
from tests.support.service_manager import NotifySocket


@pytest.fixture(params=["path", "abstract"])
def heard(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[NotifySocket]:
    address = str(tmp_path / "notify") if request.param == "path" else f"@jfr-mp-test-{os.getpid()}"
    with NotifySocket(address) as listener:
        yield listener


def test_each_change_is_reported_once(heard: NotifySocket) -> None:
    manager = ServiceManager(heard.address)
    manager.update(ServiceState.STARTING, "0 of 1")
    manager.update(ServiceState.READY, "1 of 1")
    manager.update(ServiceState.READY, "1 of 1")
    manager.update(ServiceState.RELOADING, "two\nlines")
    manager.update(ServiceState.READY, "1 of 1")
    manager.update(ServiceState.STOPPING, "1 of 1")
    messages = heard.received()
    monotonic = messages[2].pop("MONOTONIC_USEC")
    assert messages == [
        {"STATUS": "0 of 1"},
        {"READY": "1", "STATUS": "1 of 1"},
        {"RELOADING": "1", "STATUS": "two lines"},
        {"READY": "1", "STATUS": "1 of 1"},
        {"STOPPING": "1"},
    ]
    # systemd compares it with its own clock, to tell this reload from an earlier one
    assert 0 < int(monotonic) < 10**16


def test_the_watchdog_is_fed_by_each_turn_that_comes_in_time(heard: NotifySocket) -> None:
    manager = ServiceManager(heard.address, watchdog=3600)
    assert manager.interval == 1200
    manager.update(ServiceState.STARTING, "")
    manager.update(ServiceState.STARTING, "")
    assert heard.received() == [{"WATCHDOG": "1"}]


def test_the_environment_names_the_manager_of_this_process_only(
    heard: NotifySocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", heard.address)
    monkeypatch.setenv("WATCHDOG_USEC", "6000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    assert ServiceManager.from_environment().interval == 2
    # Children must not answer for it
    assert {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}.isdisjoint(os.environ)
    # And what is meant for another process counts for nothing
    monkeypatch.setenv("NOTIFY_SOCKET", heard.address)
    monkeypatch.setenv("WATCHDOG_USEC", "6000000")
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert ServiceManager.from_environment().interval == float("inf")


def test_a_manager_that_is_gone_is_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    manager = ServiceManager(str(tmp_path / "nothing"), watchdog=3)
    for text in ("one", "two"):
        manager.update(ServiceState.READY, text)
    assert len(caplog.records) == 1
    assert manager.interval == float("inf")


def test_a_full_queue_loses_no_state(tmp_path: Path) -> None:
    # Given a manager that does not read
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(path)
        manager = ServiceManager(path)
        for number in range(5000):
            manager.update(ServiceState.STARTING, f"{number}")
        # When it has read, the next turn reports the state
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            while listener.recv(4096):
                pass
        manager.update(ServiceState.READY, "4999")
        assert listener.recv(4096) == b"READY=1\nSTATUS=4999"


def test_the_status_line_names_what_does_not_run() -> None:
    states = {"queue-1": State.RUNNING, "transfer-1": State.FATAL, "transfer-2": State.BACKOFF}
    assert summary(states) == "1 of 3 role processes are running; transfer-1 FATAL; transfer-2 BACKOFF"
    assert not settled(states)
    assert settled({"queue-1": State.RUNNING, "transfer-1": State.FATAL})
