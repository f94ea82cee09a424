"""Requests of several threads are performed in groups."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from jfr_mp.hosts.ssh.grouping import Grouping
from tests.support.waiting import wait_until


class Performer:
    """Squares numbers, in groups that it notes, as soon as it is let."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.is_let = threading.Event()

    def __call__(self, numbers: Sequence[int]) -> list[int | Exception]:
        self.groups.append(list(numbers))
        assert self.is_let.wait(10)
        if 13 in numbers:
            raise ConnectionError("all of them")
        return [number * number if number >= 0 else ValueError(str(number)) for number in numbers]


@pytest.fixture
def performer() -> Performer:
    return Performer()


def ask_all(performer: Performer, numbers: Sequence[int], most: int) -> list[Future[int]]:
    """Ask for the first number, and for the others while it is under way."""
    grouping = Grouping(performer, most)
    with ThreadPoolExecutor(len(numbers)) as threads:
        answers = [threads.submit(grouping.ask, numbers[0])]
        wait_until(lambda: performer.groups, 10, "the first group")
        answers += [threads.submit(grouping.ask, number) for number in numbers[1:]]
        wait_until(lambda: len(grouping._waiting) == len(numbers) - 1, 10, "the others")  # noqa: SLF001
        performer.is_let.set()
    return answers


def test_what_waits_is_one_group(performer: Performer) -> None:
    answers = ask_all(performer, [1, 2, 3, 4], most=9)
    assert [answer.result() for answer in answers] == [1, 4, 9, 16]
    assert [sorted(group) for group in performer.groups] == [[1], [2, 3, 4]]


def test_a_group_has_its_maximum(performer: Performer) -> None:
    answers = ask_all(performer, [*range(8)], most=3)
    assert [answer.result() for answer in answers] == [number * number for number in range(8)]
    assert [len(group) for group in performer.groups] == [1, 3, 3, 1]


def test_an_error_of_one_is_not_that_of_the_others(performer: Performer) -> None:
    first, good, bad = ask_all(performer, [1, 2, -3], most=9)
    assert (first.result(), good.result()) == (1, 4)
    with pytest.raises(ValueError, match="-3"):
        bad.result()


def test_an_error_of_a_group_is_that_of_each_and_others_go_on(performer: Performer) -> None:
    first, *group = ask_all(performer, [1, 13, 2, 3], most=9)
    assert first.result() == 1
    for each in group:
        with pytest.raises(ConnectionError, match="all of them"):
            each.result()
    assert Grouping(performer, 2).ask(5) == 25
