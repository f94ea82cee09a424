"""A real master whose service manager listens."""

from __future__ import annotations

import json
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.processes import Processes
from tests.support.service_manager import NotifySocket
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(60)

SMALL_MASTER = Path(__file__).with_name("small_master.py")
#: Seconds of the watchdog; it is fed three times as often.
WATCHDOG = 1.5


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="jfr-mp-", dir="/tmp") as path:
        yield Path(path)


@pytest.fixture
def heard(directory: Path) -> Iterator[NotifySocket]:
    with NotifySocket(str(directory / "notify")) as listener:
        yield listener


def test_a_master_reports_its_life_and_feeds_its_watchdog(directory: Path, heard: NotifySocket, tmp_path: Path) -> None:
    processes = Processes(tmp_path)
    try:
        # When systemd starts a master
        argv = [
            sys.executable,
            str(SMALL_MASTER),
            str(directory),
            json.dumps({"transfer": 1, "queue": 1}),
            "foreground",
        ]
        env = {"NOTIFY_SOCKET": heard.address, "WATCHDOG_USEC": str(int(WATCHDOG * 1e6))}
        master = processes.start(["/usr/bin/env", *(f"{name}={value}" for name, value in env.items()), *argv])
        # Then it is told when all role processes are ready, and hears from the main loop
        ready = heard.wait_for("READY")
        assert ready["STATUS"] == "2 of 2 role processes are running"
        heard.wait_for("WATCHDOG")
        # And a main loop that hangs misses its watchdog
        master.send_signal(signal.SIGSTOP)
        wait_until(lambda: psutil.Process(master.pid).status() == psutil.STATUS_STOPPED, 10, "a master that is stopped")
        heard.received()
        time.sleep(WATCHDOG)
        assert heard.received() == []
        master.send_signal(signal.SIGCONT)
        heard.wait_for("WATCHDOG")
        # And the stop is announced
        master.terminate()
        assert heard.wait_for("STOPPING")["STOPPING"] == "1"
        assert master.wait(20) == 0
    finally:
        processes.end_all()
    # And no role process has answered in its place
    assert sum("READY" in message for message in heard.messages) == 1
