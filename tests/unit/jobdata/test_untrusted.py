from __future__ import annotations

from pathlib import Path

import pytest

from jfr_mp.errors import HostError
from jfr_mp.jobdata.untrusted import path_below


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/x", "", ".", "..", "a/..", "out/x", "a\0b"])
def test_a_listing_does_not_lead_out_of_the_directory(tmp_path: Path, name: str) -> None:
    # Given a directory with a link that leads out of it
    directory = tmp_path / "target"
    directory.mkdir()
    (directory / "out").symlink_to(tmp_path)
    # Then no name of a host leads there
    with pytest.raises(HostError, match="outside of") as caught:
        path_below(directory, name)
    assert caught.value.permanent


@pytest.mark.parametrize("name", ["x", "a/b/x", "..x", "a b\n"])
def test_other_names_are_below_the_directory(tmp_path: Path, name: str) -> None:
    assert path_below(tmp_path, name) == tmp_path / name
