"""Values for all pages: read once, kept while they are good, and taken late if that is allowed."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing

import pytest

from jfr_mp.gui.shared_values import SharedValues
from tests.support.waiting import wait_until


class World:
    """A clock and a number of events that the test moves; each value that is read is the next number."""

    def __init__(self) -> None:
        self.now = 0.0
        self.events = 0
        self.cost = 0.0
        self.numbers = itertools.count(1)
        self.values = SharedValues(lambda: self.events, lambda: self.now)

    def read(self) -> int:
        self.now += self.cost
        return next(self.numbers)


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    with closing(made.values):
        yield made


@pytest.mark.parametrize(
    ("cost", "events", "passed", "expected"),
    [
        (0.0, 0, 9.0, 1),
        (0.0, 0, 11.0, 2),
        (0.0, 1, 0.4, 1),
        (0.0, 1, 0.6, 2),
        (0.1, 1, 1.9, 1),
        (0.1, 1, 2.1, 2),
        (9.0, 1, 3.9, 1),
        (9.0, 1, 4.1, 2),
    ],
)
def test_a_value_is_kept_by_its_cost_and_by_what_happens(
    world: World, cost: float, events: int, passed: float, expected: int
) -> None:
    world.cost = cost
    assert world.values.get("x", world.read) == 1
    world.events += events
    world.now += passed
    assert world.values.get("x", world.read) == expected


def test_a_value_that_changes_without_jobs_is_kept_for_a_moment(world: World) -> None:
    assert world.values.get("x", world.read, quiet=0) == 1
    world.now += 0.6
    assert world.values.get("x", world.read, quiet=0) == 2


def test_a_late_value_is_returned_at_once_and_read_again(world: World) -> None:
    assert world.values.get("x", world.read, late=True) == 1
    world.now += 100
    # Then the last value is returned, and the next one follows
    assert world.values.get("x", world.read, late=True) == 1
    wait_until(lambda: world.values.get("x", world.read, late=True) == 2, 5, "the next value")
    # A value that cannot be read does not replace it, and is asked for again
    world.now += 100

    def fails() -> int:
        raise OSError("no")

    assert world.values.get("x", fails, late=True) == 2
    wait_until(lambda: world.values.get("x", world.read, late=True) == 3, 5, "the next value")


def test_old_values_are_forgotten(world: World) -> None:
    for number in range(60):
        world.values.get(str(number), world.read)
    assert world.values.get("59", world.read) == 60
    assert world.values.get("0", world.read) == 61
