"""The key pair of a user: private, and fit for a command line."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from jfr_mp.bus.keys import key_path, make_keys, read_keys
from jfr_mp.config import Project
from jfr_mp.errors import BusError


@pytest.fixture
def project(tmp_path: Path) -> Project:
    queue = {"store": {"type": "MongoStore", "database": "unused", "collection_name": "jobs"}}
    return Project.model_validate({"name": "keys", "queue": queue, "daemon_dir": str(tmp_path / "daemon")})


def test_a_key_pair_is_read_as_it_was_made(project: Project) -> None:
    assert read_keys(project) is None
    made = make_keys(project)
    assert read_keys(project) == made
    assert made.secret not in repr(made)
    assert stat.S_IMODE(key_path(project).stat().st_mode) == 0o600


def test_no_public_key_begins_like_an_option(project: Project) -> None:
    # One in 85 would
    assert not [key for key in (make_keys(project).public for _ in range(600)) if key.startswith("-")]


def test_a_key_that_others_can_read_is_refused(project: Project) -> None:
    make_keys(project)
    key_path(project).chmod(0o640)
    with pytest.raises(BusError, match=r"can be read by other users: make new keys"):
        read_keys(project)


def test_a_damaged_key_is_refused(project: Project) -> None:
    make_keys(project)
    key_path(project).write_bytes(b"short")
    with pytest.raises(BusError, match=r"is damaged: make new keys"):
        read_keys(project)
