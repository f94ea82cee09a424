"""Logs are private, are rotated while a process writes them, and return their last lines."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from jfr_mp.config import Project
from jfr_mp.supervisor.logfile import LogFile, claim_log_dir, log_dir, log_files


@pytest.fixture
def log(tmp_path: Path) -> LogFile:
    return LogFile(tmp_path / "logs" / "queue-1.log")


def write(log: LogFile, text: str) -> None:
    fd = log.open()
    os.write(fd, text.encode())
    os.close(fd)


def test_a_log_is_readable_by_its_user_only(log: LogFile) -> None:
    # Given
    log.path.parent.mkdir()
    log.path.touch(0o644)
    # When
    write(log, "a secret\n")
    # Then
    assert log.path.stat().st_mode & 0o777 == 0o600


def test_three_old_logs_are_kept_and_the_process_goes_on_writing(log: LogFile) -> None:
    # Given
    fd = log.open()
    # When
    for number in range(6):
        os.write(fd, f"line {number}\n".encode())
        log.rotate(large=1)
    os.write(fd, b"now\n")
    os.close(fd)
    log.rotate(large=100)
    # Then
    texts = {path.name: path.read_text() for path in log.path.parent.iterdir()}
    assert texts == {
        "queue-1.log": "now\n",
        "queue-1.log.1": "line 5\n",
        "queue-1.log.2": "line 4\n",
        "queue-1.log.3": "line 3\n",
    }
    assert {path.stat().st_mode & 0o777 for path in log.path.parent.iterdir()} == {0o600}


def test_a_log_that_does_not_exist_is_empty(log: LogFile) -> None:
    log.rotate()
    assert (log.size, log.last_lines(), log.new_lines()) == (0, [], [])


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        ("old\n", "", []),
        ("old\n", "new\n\n  \nlast", ["new", "last"]),
        ("", "".join(f"{n}\n" for n in range(20)), [str(n) for n in range(12, 20)]),
        ("", "x" * 20000 + "\nlast\n", ["x" * 8186, "last"]),
    ],
)
def test_last_lines_are_those_of_this_process(log: LogFile, before: str, after: str, lines: list[str]) -> None:
    # Given
    write(log, before)
    since = log.size
    # When
    write(log, after)
    # Then
    assert log.last_lines(since) == lines


def test_last_lines_after_a_rotation(log: LogFile) -> None:
    # Given
    write(log, "a long line of the process before\n")
    since = log.size
    log.rotate(large=1)
    # When
    write(log, "new\n")
    # Then
    assert log.last_lines(since) == ["new"]


def test_new_lines_are_complete_and_returned_once(log: LogFile) -> None:
    write(log, "one\ntw")
    assert log.new_lines() == ["one"]
    assert log.new_lines() == []
    write(log, "o\n\nthree\n")
    assert log.new_lines() == ["two", "", "three"]
    log.rotate(large=1)
    write(log, "four\n")
    assert log.new_lines() == ["four"]


def test_earlier_lines_are_not_new(log: LogFile) -> None:
    write(log, "old\n")
    later = LogFile(log.path)
    write(log, "new\n")
    assert later.new_lines() == ["new"]


def test_on_a_full_disk_a_large_log_is_truncated(tmp_path: Path) -> None:
    # Given a large log, and no room for another one
    path = tmp_path / "a.log"
    path.write_bytes(b"line\n" * 1000)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    # When it is rotated
    try:
        LogFile(path).rotate(large=1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    # Then the space is free again
    assert path.stat().st_size == 0
    assert [found.name for found in tmp_path.iterdir()] == ["a.log"]


def test_machines_that_share_the_directory_have_files_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given the directory of a project that has never been started
    store = {"type": "MongoStore", "host": "db", "database": "main", "collection_name": "jobs"}
    project = Project.model_validate({"name": "main", "log_dir": str(tmp_path), "queue": {"store": store}})
    shared = tmp_path / "jfr_mp"
    assert (log_dir(project), log_files(project)) == (shared, [])
    # When machines start masters, one of them again
    for host, expected in [("one", shared), ("two", shared / "two"), ("one", shared), ("three", shared / "three")]:
        monkeypatch.setattr("jfr_mp.supervisor.logfile.host_name", lambda host=host: host)
        claim_log_dir(project)
        # Then each has a directory that no other one uses
        assert log_dir(project) == expected
        write(LogFile(log_dir(project) / "queue-1.log"), f"{host}\n")
        assert log_files(project, "queue") == [expected / "queue-1.log"]
    # and a machine without logs sees those of all
    monkeypatch.setattr("jfr_mp.supervisor.logfile.host_name", lambda: "four")
    assert [path.parent for path in log_files(project)] == [shared, shared / "three", shared / "two"]
    assert not list(shared.glob(".*"))
