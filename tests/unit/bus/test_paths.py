"""The directories of the sockets: private, short enough, and replaced after their master has died."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from jfr_mp.bus import paths
from jfr_mp.bus.paths import MasterFile, RunDir, run_dirs, runtime_dir
from jfr_mp.errors import BusError
from jfr_mp.identity import this_machine
from jfr_mp.model import utcnow
from jfr_mp.step_table import Role


def project(daemon_dir: Path) -> Any:
    return SimpleNamespace(daemon_dir=str(daemon_dir))


def master_file(**changes: Any) -> MasterFile:
    fields = {
        "pid": os.getpid(),
        "create_time": psutil.Process().create_time(),
        "owner": "here:1:aa",
        "roles": {Role.QUEUE: 1},
        "project": "main",
        "started": utcnow(),
    }
    return MasterFile.model_validate(fields | changes)


def test_runtime_dir_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given
    monkeypatch.setattr("socket.gethostname", lambda: "n1")
    monkeypatch.setattr(paths, "_LONGEST_SOCKET_PATH", 1000)
    # When
    first, second = runtime_dir(project(tmp_path)), runtime_dir(project(tmp_path))
    # Then
    assert first == second == tmp_path / "jfr_mp" / f"n1-{this_machine()[:8]}"
    assert first.stat().st_mode & 0o777 == 0o700


def test_a_long_daemon_dir_gives_a_short_private_runtime_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given
    monkeypatch.setattr(paths, "_SHORT_PARENT", tmp_path)
    monkeypatch.setenv("TMPDIR", "/elsewhere")
    # When
    found = runtime_dir(project(tmp_path / ("x" * 100)))
    # Then
    assert found.parent == tmp_path
    assert found == runtime_dir(project(tmp_path / ("x" * 100)))
    assert found != runtime_dir(project(tmp_path / ("y" * 100)))
    assert found.stat().st_mode & 0o777 == 0o700


def test_a_runtime_dir_that_another_user_prepared_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given
    monkeypatch.setattr(paths, "_SHORT_PARENT", tmp_path)
    daemon_dir = tmp_path / ("x" * 100)
    found = runtime_dir(project(daemon_dir))
    found.rmdir()
    (tmp_path / "trap").mkdir()
    found.symlink_to(tmp_path / "trap")
    # When, then
    with pytest.raises(BusError, match="does not belong to you"):
        runtime_dir(project(daemon_dir))


def test_a_runtime_dir_that_others_can_read_is_closed(tmp_path: Path) -> None:
    # Given
    found = runtime_dir(project(tmp_path))
    found.chmod(0o755)
    # When
    runtime_dir(project(tmp_path))
    # Then
    assert found.stat().st_mode & 0o777 == 0o700


def test_a_runtime_dir_that_cannot_be_made_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given
    monkeypatch.setattr(paths, "_LONGEST_SOCKET_PATH", 1000)
    (tmp_path / "jfr_mp").write_text("a file in its place")
    # When, then
    with pytest.raises(BusError, match="cannot make the directory"):
        runtime_dir(project(tmp_path))


def test_a_run_dir_replaces_what_a_dead_master_of_the_same_pid_left(tmp_path: Path) -> None:
    # Given
    stale = tmp_path / str(os.getpid())
    stale.mkdir()
    (stale / "control.sock").write_text("")
    (tmp_path / "lock").write_text("")
    # When
    RunDir(stale).create(master_file())
    # Then
    (found,) = run_dirs(tmp_path)
    assert [path.name for path in found.path.iterdir()] == ["master.json"]
    assert found.master == master_file(started=found.master.started if found.master else None)
    assert found.master is not None
    assert found.master.alive


def test_a_run_dir_without_a_readable_file_has_no_master(tmp_path: Path) -> None:
    (tmp_path / "master.json").write_text('{"pid": ')
    assert RunDir(tmp_path).master is None
    assert RunDir(tmp_path / "nothing").master is None


def test_a_file_without_a_host_is_of_this_machine(tmp_path: Path) -> None:
    # Given the file of a master of an earlier version
    (tmp_path / "master.json").write_text(master_file().model_dump_json(exclude={"host"}))
    # When
    found = RunDir(tmp_path).master
    # Then
    assert found is not None
    assert found.is_local
    assert found.alive
