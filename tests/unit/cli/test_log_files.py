from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from itertools import islice
from pathlib import Path

import pytest

from jfr_mp.cli.logs import FollowedLog, follow_lines, last_lines

Follow = Callable[[Path, int], FollowedLog]


@pytest.fixture
def follow() -> Iterator[Follow]:
    """Follow a log until the end of the test."""
    with ExitStack() as stack:
        yield lambda path, number: stack.enter_context(closing(FollowedLog(path, number)))


def log(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def test_the_last_lines_of_several_logs(tmp_path: Path) -> None:
    queue = log(tmp_path / "queue-1.log", "a", "b", "c")
    transfer = log(tmp_path / "transfer-1.log", "d")

    assert list(last_lines([queue, transfer], 2)) == [("queue-1", "b"), ("queue-1", "c"), ("transfer-1", "d")]
    assert list(last_lines([queue], 0)) == []


def test_a_log_is_followed_line_by_line(tmp_path: Path, follow: Follow) -> None:
    # Given a log of which the last line is shown
    path = log(tmp_path / "queue-1.log", "a", "b")
    followed = follow(path, 1)
    assert followed.new_lines() == ["b"]

    # When a line is written in two halves
    with path.open("a") as file:
        file.write("c1 ")
        file.flush()
        assert followed.new_lines() == []
        file.write("c2\nd")

    # Then it appears when it is whole
    assert followed.new_lines() == ["c1 c2"]


def test_a_rotation_loses_nothing(tmp_path: Path, follow: Follow) -> None:
    # Given a followed log
    path = log(tmp_path / "queue-1.log", "a")
    followed = follow(path, 0)

    # When it is written to, rotated away, and begun anew
    with path.open("a") as file:
        file.write("last\n")
    path.rename(tmp_path / "queue-1.log.1")
    assert followed.new_lines() == ["last"]
    log(path, "first")

    # Then both ends are shown
    assert followed.new_lines() == ["first"]


def test_logs_that_appear_later_are_followed_too(tmp_path: Path) -> None:
    # Given one log
    log(tmp_path / "queue-1.log", "a")
    with closing(follow_lines(lambda: sorted(tmp_path.glob("*.log")), 10)) as lines:
        assert list(islice(lines, 1)) == [("queue-1", "a")]

        # When a second process starts
        log(tmp_path / "transfer-1.log", "b")

        # Then its log is followed
        assert list(islice(lines, 1)) == [("transfer-1", "b")]
