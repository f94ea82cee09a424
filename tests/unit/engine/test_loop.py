"""The loop: turns, timers, wake-ups and tasks that fail."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise

import pytest
from pymongo.errors import AutoReconnect

from jfr_mp.engine.loop import Loop, Task
from jfr_mp.engine.wakeups import LocalWakeups
from jfr_mp.states import JobState

NEVER = 3600.0


class Recorder:
    """Makes tasks that write their turns down and stop the loop after so many of them."""

    def __init__(self, stop_after: int) -> None:
        self.turns: list[str] = []
        self.wakeups = LocalWakeups()
        self._stop_after = stop_after

    def task(
        self,
        name: str,
        answer: Callable[[], float | None] = lambda: None,
        wakes: frozenset[JobState] = frozenset(),
        interval: float = NEVER,
    ) -> Task:
        def run() -> float | None:
            self.turns.append(name)
            if len(self.turns) >= self._stop_after:
                self.wakeups.request_stop()
            return answer()

        return Task(name, interval, run, wakes)

    def run(self, *tasks: Task) -> list[str]:
        Loop(tasks, self.wakeups).run(time.monotonic() + 10)
        return self.turns


def test_tasks_with_more_work_take_turns() -> None:
    recorder = Recorder(stop_after=6)
    turns = recorder.run(recorder.task("uploads", lambda: 0.0), recorder.task("downloads", lambda: 0.0))
    assert turns == ["uploads", "downloads"] * 3


def test_a_task_without_work_rests_for_its_interval() -> None:
    recorder = Recorder(stop_after=4)
    turns = recorder.run(recorder.task("busy", lambda: 0.0), recorder.task("idle"))
    assert turns == ["busy", "idle", "busy", "busy"]


def test_a_wake_up_ends_the_rest_of_the_tasks_that_wait_for_it() -> None:
    # Given two tasks that rest, and a third that announces a job
    recorder = Recorder(stop_after=4)

    def announce() -> float | None:
        recorder.wakeups.publish(JobState.UPLOADED)
        return None

    waits = recorder.task("submit", wakes=frozenset({JobState.UPLOADED}))
    rests = recorder.task("complete", wakes=frozenset({JobState.DOWNLOADED}))

    # When it does
    turns = recorder.run(waits, rests, recorder.task("upload", announce))

    # Then only the one that waits for that state has another turn
    assert turns == ["submit", "complete", "upload", "submit"]


def test_a_task_that_finds_nothing_looks_less_and_less_often_until_it_is_woken() -> None:
    # Given a task that finds work in its fifth turn only
    turns: list[float] = []
    wakeups = LocalWakeups()

    def look() -> float | None:
        turns.append(time.monotonic())
        if len(turns) == 9:
            wakeups.request_stop()
        return 0.01 if len(turns) == 5 else None

    task = Task("checkout", 0.01, look, frozenset({JobState.READY}), longest=0.05)
    # When
    Loop([task], wakeups).run(time.monotonic() + 10)
    # Then
    pauses = [later - earlier for earlier, later in pairwise(turns)]
    least = [0.01, 0.02, 0.04, 0.05, 0.01, 0.01, 0.02, 0.04]
    assert [pause >= bound for pause, bound in zip(pauses, least, strict=True)] == [True] * 8


@pytest.mark.parametrize(("interval", "at_once"), [(NEVER, True), (0.05, False)])
@pytest.mark.timing
def test_a_wake_up_ends_the_long_rest_of_an_idle_task(interval: float, at_once: bool) -> None:
    # Given a task that has found nothing for long
    wakeups = LocalWakeups()

    def look() -> float | None:
        wakeups.request_stop()
        return None

    due = time.monotonic() + NEVER
    news = frozenset({JobState.READY})
    task = Task("checkout", interval, look, news, longest=2 * NEVER, at_once=at_once, due=due, idle=20)
    # When it is woken, it looks at once, or after its interval
    begun = time.monotonic()
    wakeups.publish(JobState.READY)
    Loop([task], wakeups).run(time.monotonic() + 10)
    # Then it begins with short rests again
    assert task.idle == 1
    assert time.monotonic() - begun >= (0.0 if at_once else interval)
    assert time.monotonic() - begun < NEVER


def test_timer() -> None:
    recorder = Recorder(stop_after=3)
    begin = time.monotonic()
    assert recorder.run(recorder.task("probe", interval=0.02)) == ["probe"] * 3
    assert time.monotonic() - begin >= 0.04


@pytest.mark.parametrize("error", [AutoReconnect("connection closed"), ZeroDivisionError("a bug")])
def test_a_task_that_raises_is_paused_and_the_others_go_on(error: Exception) -> None:
    # Given a task that raises the first time
    recorder = Recorder(stop_after=8)
    errors = [error]

    def fail_once() -> float | None:
        if errors:
            raise errors.pop()
        return None

    # When it runs beside another one
    turns = recorder.run(recorder.task("fails", fail_once), recorder.task("works", lambda: 0.1))

    # Then the other one goes on, and the task itself has another turn after its pause
    assert turns[:3] == ["fails", "works", "works"]
    assert turns.count("fails") == 2


def test_wake_ups_do_not_shorten_the_pause_of_a_task_that_raises() -> None:
    recorder = Recorder(stop_after=5)

    def fail() -> float | None:
        raise AutoReconnect("connection closed")

    def announce() -> float | None:
        recorder.wakeups.publish(JobState.READY)
        return 0.0

    fails = recorder.task("checkout", fail, wakes=frozenset({JobState.READY}))
    assert recorder.run(fails, recorder.task("announces", announce)) == ["checkout"] + ["announces"] * 4
