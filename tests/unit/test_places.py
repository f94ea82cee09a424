"""Directories are the same place or different ones, whatever their paths are."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from jfr_mp.places import Places, place_of
from tests.support.sites import project_with


def test_a_directory_has_one_id_by_whatever_path(tmp_path: Path) -> None:
    directory, link = tmp_path / "a", tmp_path / "b"
    directory.mkdir()
    link.symlink_to(directory)
    assert place_of(directory) == place_of(directory) == place_of(link)


def test_processes_that_mark_a_directory_together_agree(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: place_of(tmp_path), range(32)))
    assert found == {place_of(tmp_path)}
    assert [path.name for path in tmp_path.iterdir()] == [".jfr_mp_place"]


def test_a_copy_of_a_directory_is_another_place(tmp_path: Path) -> None:
    # Given
    (tmp_path / "original").mkdir()
    original = place_of(tmp_path / "original")
    # When it is copied, as a clone of a machine is
    shutil.copytree(tmp_path / "original", tmp_path / "copy")
    # Then
    assert place_of(tmp_path / "copy") not in (None, original)
    assert place_of(tmp_path / "original") == original


def test_what_cannot_be_marked_is_no_place(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert place_of(tmp_path / "nothing") is None
    assert place_of(tmp_path / "file") is None
    (tmp_path / ".jfr_mp_place").write_bytes(b"\xff\x00 garbage")
    assert place_of(tmp_path) is not None


def test_a_project_has_the_places_of_its_local_workers_and_of_its_downloads(tmp_path: Path) -> None:
    # Given
    local = {"type": "local", "scheduler_type": "shell", "work_dir": str(tmp_path / "work")}
    remote = {"type": "remote", "scheduler_type": "slurm", "work_dir": "/work", "host": "cluster"}
    project = project_with(local=local, remote=remote).model_copy(update={"tmp_dir": str(tmp_path / "tmp")})
    places = Places(project)
    assert places.seen() == []
    # When
    places.prepare()
    # Then
    assert places.of_workers() == {"local": place_of(tmp_path / "work")}
    assert places.of_worker("remote") is None
    assert set(places.seen()) == {place_of(tmp_path / "work"), places.downloads()}


def test_other_users_cannot_read_what_was_downloaded(tmp_path: Path) -> None:
    # Given a directory of an earlier version
    project = project_with().model_copy(update={"tmp_dir": str(tmp_path / "tmp")})
    (tmp_path / "tmp" / "download").mkdir(mode=0o755, parents=True)
    # When it is prepared, or made anew
    for prepare in (Places(project).prepare, Places(project).downloads):
        prepare()
        # Then it is private
        assert (tmp_path / "tmp" / "download").stat().st_mode & 0o777 == 0o700
        shutil.rmtree(tmp_path / "tmp")
