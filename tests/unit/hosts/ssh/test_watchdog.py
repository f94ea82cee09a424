from __future__ import annotations

import threading
import time

from jfr_mp.hosts.ssh.watchdog import Watchdog
from tests.support.waiting import wait_until


def test_what_does_not_move_is_broken_off() -> None:
    broken_off = threading.Event()
    with Watchdog(broken_off.set, 0.05) as watchdog:
        assert broken_off.wait(10)
    assert watchdog.fired


def test_progress_gives_new_time() -> None:
    # Given something that moves all the time, for longer than patience lasts
    calls: list[None] = []
    with Watchdog(lambda: calls.append(None), 0.5) as watchdog:
        end = time.monotonic() + 0.8

        def move() -> bool:
            watchdog.progress()
            return time.monotonic() > end

        wait_until(move, 10, "the end")
    # Then it is left alone, also afterwards
    assert not watchdog.fired
    assert calls == []
