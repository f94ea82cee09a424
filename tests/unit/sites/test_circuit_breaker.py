"""The circuit breaker of a host, by histories of events under a clock of the test."""

from __future__ import annotations

import pytest

from jfr_mp.sites.circuit_breaker import FIRST_PAUSE, LONGEST_PAUSE, CircuitBreaker


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def health(clock: Clock) -> CircuitBreaker:
    return CircuitBreaker("cluster", clock)


def test_a_healthy_host_is_not_paused(health: CircuitBreaker) -> None:
    assert health.pause() == 0
    assert health.outage is None
    assert not health.worked()


def test_each_failure_doubles_the_pause_up_to_a_limit(health: CircuitBreaker, clock: Clock) -> None:
    pauses = []
    for _ in range(10):
        health.failed("connection refused")
        pauses.append(health.pause())
        clock.now += pauses[-1]
    assert pauses[:3] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert pauses[-1] == LONGEST_PAUSE


def test_only_the_first_failure_and_the_first_success_are_news(health: CircuitBreaker) -> None:
    assert [health.failed("down"), health.failed("down"), health.worked(), health.worked()] == [
        True,
        False,
        True,
        False,
    ]


def test_after_the_pause_one_caller_tries_and_the_others_wait(health: CircuitBreaker, clock: Clock) -> None:
    health.failed("down")
    clock.now += FIRST_PAUSE
    assert health.pause() == 0
    assert health.pause() > 0


def test_who_has_nothing_to_do_there_lets_the_next_one_try(health: CircuitBreaker, clock: Clock) -> None:
    # Given a caller who was let through and then had no job for the host
    health.failed("down")
    clock.now += FIRST_PAUSE
    assert health.pause() == 0
    health.skipped()

    # Then the next one tries at once: otherwise the first, back in time each time, would keep it off for ever
    assert health.pause() == 0
    assert health.outage is not None


def test_an_outage_says_since_when_why_and_when_it_is_tried_next(health: CircuitBreaker) -> None:
    # Given a host that failed twice
    health.failed("connection refused")
    first = health.outage
    health.failed("no route to host")

    # Then the outage began with the first failure and tells of the second
    outage = health.outage
    assert first is not None
    assert outage is not None
    assert outage.host == "cluster"
    assert outage.since == first.since
    assert outage.why == "no route to host"
    assert (outage.next_try - outage.since).total_seconds() >= 2 * FIRST_PAUSE


def test_success_ends_the_outage(health: CircuitBreaker) -> None:
    health.failed("down")
    health.worked()
    assert health.pause() == 0
    assert health.outage is None
