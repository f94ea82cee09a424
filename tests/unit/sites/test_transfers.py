"""Which transfers are told of, and when."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from jfr_mp.model import Transfer
from jfr_mp.sites.transfers import Transfers


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def told() -> list[dict[str, int]]:
    """Return what was told: for each telling, the bytes of each job."""
    return []


@pytest.fixture
def transfers(clock: Clock, told: list[dict[str, int]]) -> Transfers:
    def tell(under_way: Sequence[Transfer]) -> None:
        told.append({transfer.db_id: transfer.done_bytes for transfer in under_way})

    transfers = Transfers(clock)
    transfers.tell = tell
    return transfers


def test_a_short_transfer_is_nobodys_business(transfers: Transfers, clock: Clock, told: list[dict[str, int]]) -> None:
    with transfers.of("1", "cluster", "upload") as progress:
        clock.now += 0.9
        progress(10, 10)
    assert told == []


def test_a_long_transfer_is_told_of_now_and_then_and_at_its_end(
    transfers: Transfers, clock: Clock, told: list[dict[str, int]]
) -> None:
    with transfers.of("1", "cluster", "download") as progress:
        for done in range(1, 7):
            clock.now += 0.5
            progress(done, 6)
    assert told == [{"1": 2}, {"1": 4}, {"1": 6}, {}]


def test_one_that_fails_is_not_shown_for_ever(transfers: Transfers, clock: Clock, told: list[dict[str, int]]) -> None:
    with pytest.raises(OSError, match="gone"), transfers.of("1", "cluster", "upload") as progress:
        clock.now += 2
        progress(1, 6)
        raise OSError("gone")
    assert told == [{"1": 1}, {}]


def test_all_that_are_under_way_are_told_of(transfers: Transfers, clock: Clock, told: list[dict[str, int]]) -> None:
    with transfers.of("1", "cluster", "upload") as one, transfers.of("2", "cluster", "download") as other:
        one(3, 6)
        clock.now += 2
        other(4, 6)
    assert told[0] == {"1": 3, "2": 4}
    assert told[-1] == {}
