from __future__ import annotations

from pathlib import Path

import pytest

from jfr_mp.errors import HostError
from jfr_mp.hosts.local import LocalHost
from jfr_mp.jobdata.listing import Entry, files_of


def test_files_with_any_name(tmp_path: Path) -> None:
    # Given files, one below a directory, with names that need quoting
    directory = tmp_path / "it's a dir"
    (directory / "sub").mkdir(parents=True)
    (directory / "a b\nc é").write_text("four")
    (directory / "sub" / "empty").touch()

    assert files_of(LocalHost(), str(directory)) == [Entry("a b\nc é", 4), Entry("sub/empty", 0)]


def test_a_directory_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(HostError, match=f"cannot list {tmp_path}/gone"):
        files_of(LocalHost(), f"{tmp_path}/gone")
