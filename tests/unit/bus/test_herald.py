"""The herald and the gate on real sockets: wake-ups reach the masters of other machines, and only those."""

from __future__ import annotations

import select
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import zmq

from jfr_mp.bus.gate import BusGate
from jfr_mp.bus.herald import PAUSE, Herald, Neighbour
from jfr_mp.bus.inbox import Inbox
from jfr_mp.bus.keys import KeyPair
from jfr_mp.states import JobState
from tests.support.processes import free_port
from tests.support.waiting import wait_until

READY, UPLOADED, DOWNLOADED = JobState.READY, JobState.UPLOADED, JobState.DOWNLOADED
WANTED = frozenset({READY, UPLOADED})


def pair() -> KeyPair:
    public, secret = zmq.curve_keypair()
    return KeyPair(public.decode(), secret.decode())


SERVER, FRIEND, STRANGER = pair(), pair(), pair()


class Elsewhere:
    """A master on another machine, which notes what it is told."""

    def __init__(self, news: Inbox[frozenset[JobState]], neighbour: Neighbour) -> None:
        self.neighbour = neighbour
        self._news = news
        self._told: list[frozenset[JobState]] = []

    def told(self) -> list[frozenset[JobState]]:
        self._told += self._news.take()
        return self._told

    def hears(self, *states: JobState) -> bool:
        select.select([self._news], [], [], 0.2)
        return frozenset().union(*self.told()) >= set(states)


@contextmanager
def a_master(owner: str) -> Iterator[Elsewhere]:
    address = f"tcp://127.0.0.1:{free_port()}"
    with Inbox[frozenset[JobState]]() as news, BusGate(address, SERVER, owner, lambda: {FRIEND.public}, news):
        yield Elsewhere(news, Neighbour(address, SERVER.public, WANTED))


@pytest.fixture
def other() -> Iterator[Elsewhere]:
    with a_master("other") as found:
        yield found


def test_the_others_are_told_the_states_that_they_want(other: Elsewhere) -> None:
    with Herald(FRIEND, lambda: {"other": other.neighbour}) as herald:
        herald.tell(frozenset({DOWNLOADED}))
        herald.tell(frozenset({READY, DOWNLOADED}))
        wait_until(lambda: other.hears(READY), 10, "the announcement")
        assert set(other.told()) == {frozenset({READY})}


@pytest.mark.timing
def test_many_wake_ups_are_few_announcements(other: Elsewhere) -> None:
    with Herald(FRIEND, lambda: {"other": other.neighbour}) as herald:
        begun = time.monotonic()
        while time.monotonic() - begun < 1.5 * PAUSE:
            herald.tell(frozenset({READY}))
        herald.tell(frozenset({UPLOADED}))
        wait_until(lambda: other.hears(READY, UPLOADED), 10, "the last announcement")
        assert len(other.told()) <= (time.monotonic() - begun) / PAUSE + 2


def test_a_master_that_comes_later_is_told_too_and_a_damaged_address_hinders_nobody(other: Elsewhere) -> None:
    neighbours = {"damaged": Neighbour("nowhere", "no key", WANTED)}
    with Herald(FRIEND, lambda: neighbours) as herald:
        herald.tell(frozenset({READY}))
        neighbours = {**neighbours, "other": other.neighbour}

        def heard() -> bool:
            herald.tell(frozenset({UPLOADED}))
            return other.hears(UPLOADED)

        wait_until(heard, 10, "the announcement")


def test_a_stranger_and_a_message_for_another_master_tell_nothing(other: Elsewhere) -> None:
    with (
        Herald(STRANGER, lambda: {"other": other.neighbour}) as stranger,
        Herald(FRIEND, lambda: {"somebody else": other.neighbour}) as mistaken,
        Herald(FRIEND, lambda: {"other": other.neighbour}) as friend,
    ):
        stranger.tell(frozenset({READY}))
        mistaken.tell(frozenset({READY}))
        friend.tell(frozenset({UPLOADED}))
        wait_until(lambda: other.hears(UPLOADED), 10, "the announcement of a friend")
        # Time enough for the others, which have begun earlier.
        friend.tell(frozenset({UPLOADED}))
        wait_until(lambda: len(other.told()) > 1 or not other.hears(UPLOADED, READY), 10, "another announcement")
        assert set(other.told()) == {frozenset({UPLOADED})}
