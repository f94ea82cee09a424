"""Logs as the master writes and rotates them."""

from __future__ import annotations

import logging
from contextlib import closing
from itertools import islice
from pathlib import Path

import pytest

from jfr_mp.log_entries import LogEntry, parse
from jfr_mp.log_reading import Log, Wanted, follow, last_entries
from jfr_mp.supervisor.logfile import LogFile

ALL = Wanted()


def line(second: int, text: str, level: str = "INFO", name: str = "queue-1") -> str:
    return f"2025-06-01 12:00:{second:02},000 [{level}] {name} 4711 jfr_mp.engine: {text}"


def write(path: Path, *lines: str) -> Path:
    with path.open("a") as file:
        file.writelines(f"{line}\n" for line in lines)
    return path


def texts(entries: list[LogEntry]) -> list[str]:
    return [entry.text.rpartition(": ")[2] for entry in entries]


def test_the_entries_of_several_logs_are_shown_in_the_order_of_their_time(tmp_path: Path) -> None:
    queue = write(tmp_path / "queue-1.log", line(1, "a"), line(3, "c"))
    transfer = write(tmp_path / "transfer-1.log", line(2, "b"), line(4, "d"))

    assert texts(last_entries([Log(queue), Log(transfer)], 10, ALL)) == ["a", "b", "c", "d"]
    assert texts(last_entries([Log(queue), Log(transfer)], 3, ALL)) == ["b", "c", "d"]
    assert last_entries([Log(queue), Log(transfer)], 0, ALL) == []


def test_a_traceback_belongs_to_its_entry(tmp_path: Path) -> None:
    queue = write(tmp_path / "queue-1.log", line(1, "a", "ERROR"), "Traceback (most recent call last):", "KeyError: 1")
    transfer = write(tmp_path / "transfer-1.log", line(2, "b"))

    first, second = last_entries([Log(transfer), Log(queue)], 2, ALL)

    assert first.text.splitlines()[1:] == ["Traceback (most recent call last):", "KeyError: 1"]
    assert second.text == line(2, "b")


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Wanted(logging.DEBUG), ["one", "two", "three", "four"]),
        (Wanted(logging.WARNING), ["two", "three", "four"]),
        (Wanted(logging.ERROR), ["three", "four"]),
    ],
)
def test_entries_below_a_level_are_left_out(wanted: Wanted, expected: list[str]) -> None:
    # The last one crashed: what Python prints then has no level
    lines = [
        line(1, "one", "DEBUG"),
        line(2, "two", "WARNING"),
        line(3, "three", "ERROR"),
        line(4, "four"),
        "Fatal Python error: Segmentation fault",
    ]

    found = filter(wanted, parse(lines, LogEntry("", logging.ERROR, "")))

    assert [text for entry in found for text in expected if f": {text}" in entry.text] == expected


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("upload of job 12: UPLOADED", True),
        ("job 12: cancelled", True),
        ("upload of job 12 begins", True),
        ("upload of job 123: UPLOADED", False),
        ("upload of job 3: UPLOADED", False),
        ("job 12-x: cancelled", False),
        ("12 jobs wait", False),
    ],
)
def test_only_entries_about_a_job(text: str, shown: bool) -> None:
    assert Wanted(db_id="12")(LogEntry("", logging.INFO, line(1, text))) is shown


def test_a_log_is_followed_line_by_line(tmp_path: Path) -> None:
    # Given a log that was read
    path = write(tmp_path / "queue-1.log", line(1, "a"))
    log = Log(path)
    assert texts(log.new_entries()) == ["a"]

    # When a line is written in two halves
    whole = line(2, "b")
    with path.open("a") as file:
        file.write(whole[:30])
        file.flush()
        assert log.new_entries() == []
        file.write(f"{whole[30:]}\nKeyErr")

    # Then it appears when it is complete
    assert texts(log.new_entries()) == ["b"]


def test_a_rotation_by_the_master_loses_nothing(tmp_path: Path) -> None:
    # Given a log that was read to its end
    file = LogFile(tmp_path / "queue-1.log")
    write(file.path, *(line(1, "old") for _ in range(100)))
    log = Log(file.path)
    assert len(log.new_entries()) == 100

    # When the process writes, the master rotates the log, and the process goes on writing
    write(file.path, line(2, "last of the old"))
    file.rotate(large=1)
    write(file.path, line(3, "first of the new"))

    # Then both are shown, and so is what comes later
    assert texts(log.new_entries()) == ["last of the old", "first of the new"]
    write(file.path, line(4, "second of the new"))
    assert texts(log.new_entries()) == ["second of the new"]


def test_a_log_that_was_removed_is_read_from_its_beginning(tmp_path: Path) -> None:
    path = write(tmp_path / "queue-1.log", *(line(1, "old") for _ in range(10)))
    log = Log(path)
    log.new_entries()

    path.rename(tmp_path / "elsewhere")
    assert log.new_entries() == []
    write(path, line(2, "new"))

    assert texts(log.new_entries()) == ["new"]


def test_the_end_of_a_large_log_is_read_and_no_more(tmp_path: Path) -> None:
    # Given a log that is larger than what is read first, with something rare at its beginning
    path = write(tmp_path / "queue-1.log", line(0, "rare", "ERROR"), *(line(1, f"{n}") for n in range(5000)))
    log = Log(path)

    # Then its last entries are found, and those of a kind that is rare as well
    assert texts(last_entries([log], 2, ALL)) == ["4998", "4999"]
    assert texts(last_entries([Log(path)], 3000, ALL)) == [str(n) for n in range(2000, 5000)]
    assert texts(last_entries([Log(path)], 2, Wanted(logging.ERROR))) == ["rare"]

    # And what comes later is read once
    assert log.new_entries() == []
    write(path, line(2, "new"))
    assert texts(log.new_entries()) == ["new"]


def test_entries_before_a_rotation_are_found_as_well(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "queue-1.log")
    write(file.path, *(line(number, f"{number}") for number in range(5)))
    file.rotate(large=1)
    write(file.path, line(5, "5"))

    assert texts(last_entries([Log(file.path)], 3, ALL)) == ["3", "4", "5"]


def test_logs_that_appear_later_are_followed_as_well(tmp_path: Path) -> None:
    # Given one log
    write(tmp_path / "queue-1.log", line(1, "a"), line(2, "b"))
    with closing(follow(lambda: sorted(tmp_path.glob("*.log")), 1, ALL)) as entries:
        assert texts(list(islice(entries, 1))) == ["b"]

        # When another process starts
        write(tmp_path / "transfer-1.log", line(3, "c"))

        # Then its log is followed
        assert texts(list(islice(entries, 1))) == ["c"]
