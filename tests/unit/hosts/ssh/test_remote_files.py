from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jfr_mp.errors import HostError
from jfr_mp.hosts.ssh.interface import ConnectionBroken
from jfr_mp.hosts.ssh.link import Link
from jfr_mp.hosts.ssh.remote_files import RemoteFiles


@pytest.fixture
def files(link: Link) -> RemoteFiles:
    return RemoteFiles(link, lambda _path: "No space left on device")


def test_a_file_appears_complete_or_not_at_all(
    files: RemoteFiles, breaks: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an old file, and a connection that is slow
    path = tmp_path / "file"
    path.write_bytes(b"old")
    seen: list[bytes] = []
    # When a new one is written
    files.write(path, b"n" * 100_000, lambda _done, _size: seen.append(path.read_bytes()))
    # Then the old one is there until the end, and nothing else afterwards
    assert set(seen) == {b"old"}
    assert path.read_bytes() == b"n" * 100_000
    assert list(tmp_path.iterdir()) == [path]


def test_what_breaks_is_repeated(files: RemoteFiles, breaks: Any, tmp_path: Path) -> None:
    for operation in (
        lambda: files.write(tmp_path / "file", b"content"),
        lambda: files.get(tmp_path / "file", tmp_path / "copy"),
        lambda: files.rename(tmp_path / "copy", tmp_path / "other"),
        lambda: files.remove(tmp_path / "file"),
    ):
        breaks.left = 1
        operation()
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("other", b"content")]
    assert files.size(tmp_path / "file") is None
    assert files.read_from(tmp_path / "other", 3) == b"tent"


def test_a_file_that_arrives_incomplete(
    files: RemoteFiles, breaks: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a host that loses a part of what is written
    monkeypatch.setattr(type(breaks.connect()), "size", lambda _self, _path: 3)
    # Then the error has the reason that was found out, and nothing is left
    with pytest.raises(HostError, match=r"here: cannot write .*/file: No space left on device"):
        files.write(tmp_path / "file", b"content")
    assert list(tmp_path.iterdir()) == []


def test_a_copy_that_fails_leaves_nothing(files: RemoteFiles, breaks: Any, tmp_path: Path) -> None:
    with pytest.raises(HostError, match=r"here: cannot read .*/missing: No such file"):
        files.get(tmp_path / "missing", tmp_path / "copy")
    (tmp_path / "file").write_bytes(b"content")

    def fail(_done: int, _size: int) -> None:
        raise ConnectionBroken("now")

    with pytest.raises(HostError, match="the connection broke"):
        files.get(tmp_path / "file", tmp_path / "copy", progress=fail)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_path_below_a_file(files: RemoteFiles, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HostError, match="file/below/too: Not a directory") as caught:
        files.write(tmp_path / "file" / "below" / "too", b"")
    assert caught.value.permanent
