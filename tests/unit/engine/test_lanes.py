"""Lanes: each in its thread, all heard, none held up."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from jfr_mp.engine.lanes import Lanes
from jfr_mp.engine.loop import Task
from jfr_mp.engine.wakeups import LocalWakeups, Wakeups
from jfr_mp.model import Condition
from jfr_mp.states import JobState

NEVER = 3600.0


class Bus(LocalWakeups):
    """A bus that remembers which thread spoke on it."""

    def __init__(self) -> None:
        super().__init__()
        self.speakers: set[str] = set()
        self.reports: list[str | None] = []

    def publish(self, state: JobState) -> None:
        self.speakers.add(threading.current_thread().name)
        super().publish(state)

    def report(self, condition: Condition) -> None:
        self.speakers.add(threading.current_thread().name)
        self.reports.append(condition.last_error)


def run(lanes: Lanes) -> None:
    lanes.run(time.monotonic() + 10)


def test_a_lane_that_hangs_holds_up_no_other() -> None:
    # Given a lane whose task hangs, and one that counts to ten and then stops everything
    bus, hangs, turns = Bus(), threading.Event(), []

    def count() -> float | None:
        turns.append(1)
        if len(turns) < 10:
            return 0.0
        bus.request_stop()
        hangs.set()
        return None

    def hang() -> float | None:
        assert hangs.wait(10)
        return None

    lanes = Lanes(bus)
    lanes.open("hangs", lambda _wakeups: [Task("hangs", NEVER, hang)])
    lanes.open("counts", lambda _wakeups: [Task("counts", NEVER, count)])

    # When both run
    run(lanes)

    # Then the second was not held up
    assert len(turns) == 10


def test_news_of_one_lane_wakes_another_through_the_main_thread() -> None:
    # Given a lane that announces an uploaded job, and one that waits for such jobs
    bus, woken = Bus(), threading.Event()

    def announcing(wakeups: Wakeups) -> Sequence[Task]:
        def announce() -> float | None:
            assert first_look.wait(10)
            wakeups.publish(JobState.UPLOADED)
            return None

        return [Task("upload", NEVER, announce)]

    first_look = threading.Event()

    def submit() -> float | None:
        if first_look.is_set():
            woken.set()
            bus.request_stop()
        first_look.set()
        return None

    lanes = Lanes(bus)
    lanes.open("announces", announcing)
    lanes.open("waits", lambda _wakeups: [Task("submit", NEVER, submit, frozenset({JobState.UPLOADED}))])

    # When both run
    run(lanes)

    # Then the second had a turn because of the first, and only the main thread spoke on the bus
    assert woken.is_set()
    assert bus.speakers == {threading.current_thread().name}


def test_an_error_in_a_lane_is_reported() -> None:
    bus = Bus()

    def fail() -> float | None:
        bus.request_stop()
        raise ZeroDivisionError("a bug")

    lanes = Lanes(bus)
    lanes.open("fails", lambda _wakeups: [Task("upload", NEVER, fail)])
    run(lanes)
    assert bus.reports == ["upload: ZeroDivisionError: a bug"]


def test_a_step_in_hand_is_finished_before_the_end() -> None:
    bus, begun, finished = Bus(), threading.Event(), []

    def work() -> float | None:
        begun.set()
        while not bus.stop_requested:
            bus.wait(0.01)
        finished.append("step")
        return None

    def stop() -> float | None:
        assert begun.wait(10)
        bus.request_stop()
        return None

    lanes = Lanes(bus)
    lanes.open("works", lambda _wakeups: [Task("works", NEVER, work)])
    lanes.open("stops", lambda _wakeups: [Task("stops", NEVER, stop)])
    run(lanes)
    assert finished == ["step"]
