"""A project that is kept until its files change."""

from __future__ import annotations

from pathlib import Path

import pytest

from jfr_mp.config.kept import KeptProject
from jfr_mp.errors import ConfigError

QUEUE = "queue: {store: {type: MongoStore, database: db, collection_name: jobs}}\n"


def write(folder: Path, file: str, more: str = "") -> Path:
    (folder / file).write_text(f"name: a\n{QUEUE}{more}")
    return folder / file


def test_it_is_the_same_object_while_nothing_changes(folder: Path) -> None:
    write(folder, "a.yaml")
    kept = KeptProject.read("a")
    (folder / "notes.txt").write_text("no project file")
    assert kept.current() is kept.project


def test_it_is_read_again_after_a_change(folder: Path) -> None:
    # Given
    write(folder, "a.yaml")
    kept = KeptProject.read("a")
    # When
    write(folder, "a.yaml", "log_level: debug\n")
    # Then
    assert (kept.project.log_level, kept.current().log_level) == ("info", "debug")


def test_what_no_longer_can_be_used_raises(folder: Path) -> None:
    # Given
    path = write(folder, "a.yaml")
    kept = KeptProject.read("a")
    # Then another file with the same project is an error, and so is none
    write(folder, "b.yaml")
    with pytest.raises(ConfigError, match="is defined by"):
        kept.current()
    (folder / "b.yaml").unlink()
    path.unlink()
    with pytest.raises(ConfigError, match="there is no project 'a'"):
        kept.current()
