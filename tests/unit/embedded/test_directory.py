from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jfr_mp.embedded.directory import Directory
from jfr_mp.errors import EmbeddedError


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_only_the_owner_may_look(tmp_path: Path) -> None:
    # Given a careless umask and a directory that others may read
    (tmp_path / "db").mkdir(mode=0o755)
    before = os.umask(0)

    # When
    try:
        directory = Directory(tmp_path / "db")
        directory.make(None)
    finally:
        os.umask(before)

    # Then
    assert mode(directory.path) == mode(directory.data) == 0o700
    assert {path.name: mode(path) for path in directory.path.iterdir() if path.is_file()} == {
        "keyfile": 0o600,
        "lock": 0o600,
        "managed.json": 0o600,
    }


def test_made_twice_it_is_the_same(tmp_path: Path) -> None:
    # Given
    first = Directory(tmp_path / "db").make(None)

    # When
    second = Directory(tmp_path / "db").make(None)

    # Then
    assert second == first


def test_every_password_is_another(tmp_path: Path) -> None:
    records = [Directory(tmp_path / name).make(None) for name in ("one", "two")]

    assert records[0].password != records[1].password
    assert min(len(record.password) for record in records) >= 24


def test_another_port_is_refused(tmp_path: Path) -> None:
    # Given
    record = Directory(tmp_path / "db").make(None)

    # When, Then
    with pytest.raises(EmbeddedError, match=rf"has port {record.port}, not {record.port + 1}.*embedded_db\.port"):
        Directory(tmp_path / "db").read(record.port + 1)


@pytest.mark.parametrize("content", ["", "{", '{"port": "x"}'])
def test_a_damaged_record_is_named(tmp_path: Path, content: str) -> None:
    # Given
    directory = Directory(tmp_path / "db")
    directory.make(None)
    record_file = directory.path / "managed.json"
    record_file.write_text(content)

    # When, Then
    with pytest.raises(EmbeddedError, match=f"{record_file} is damaged"):
        directory.read()


def test_without_a_database_the_error_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedError, match="jfr-mp init"):
        Directory(tmp_path).read()


@pytest.mark.parametrize("content", ["", "x", "-1", "0", "this one", "4194304"])
def test_a_pid_file_may_mean_nothing(tmp_path: Path, content: str) -> None:
    # Given a pid file that is empty, damaged, stale, or names another program: this one
    directory = Directory(tmp_path)
    directory.pid_file.write_text(content.replace("this one", str(os.getpid())))

    # When, Then
    assert directory.pid is None


def test_a_zombie_is_not_running(tmp_path: Path) -> None:
    # Given a dead process that nobody has reaped
    directory = Directory(tmp_path)
    process = subprocess.Popen([sys.executable, "-c", "", str(directory.data)])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    directory.pid_file.write_text(str(process.pid))

    # When, Then
    assert directory.pid is None
    process.wait()


def test_the_process_on_our_data_is_running(tmp_path: Path) -> None:
    # Given a process that has our data directory on its command line
    directory = Directory(tmp_path)
    with subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); input()", str(directory.data)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        directory.pid_file.write_text(str(process.pid))

        # When, Then
        assert directory.pid == process.pid
        process.communicate(b"\n")
