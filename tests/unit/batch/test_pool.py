"""The pool as the runner sees it, in a real directory of this machine."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path

import pytest

from jfr_mp.batch.fate import RunDirState
from jfr_mp.batch.markers import ALIVE_FILENAME, Marker, Place
from jfr_mp.batch.pool import Pool
from jfr_mp.errors import HostError
from jfr_mp.hosts.local import LocalHost
from tests.support.submissions import forget_submission

UUID = "abcdef01-2345-6789-abcd-ef0123456789"
SCRIPT = "echo 'it runs'\n"
BATCH = "01234567-89ab-cdef-0123-456789abcdef"
WAITING = Marker(UUID, 1, Place.SUBMITTED)
RUNNING = Marker(UUID, 1, Place.RUNNING, BATCH)
FINISHED = Marker(UUID, 1, Place.FINISHED, BATCH)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "the pool; touch x"


@pytest.fixture
def pool(directory: Path) -> Pool:
    return Pool(LocalHost(), directory, timeout=30)


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    path = tmp_path / "it's a run"
    path.mkdir()
    (path / "jfremote_in.json").touch()
    return path


def move(directory: Path, marker: Marker, target: Marker) -> None:
    (directory / marker.path).rename(directory / target.path)


def places(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


def test_a_job_comes_into_a_new_pool(pool: Pool, directory: Path, run_dir: Path) -> None:
    pool.add(UUID, 1, str(run_dir), SCRIPT)
    assert places(directory) == [WAITING.path]
    assert (run_dir / "submit.sh").read_text() == SCRIPT
    assert {path.name for path in directory.iterdir()} == {"submitted", "running", "run_finished", "lock"}
    assert pool.look().markers == {WAITING.job: WAITING}


@pytest.mark.parametrize("now", [WAITING, RUNNING, FINISHED], ids=lambda marker: marker.place.value)
def test_a_second_attempt_finds_the_job_wherever_it_is(pool: Pool, directory: Path, run_dir: Path, now: Marker) -> None:
    pool.add(UUID, 1, str(run_dir), SCRIPT)
    move(directory, WAITING, now)
    pool.add(UUID, 1, str(run_dir), SCRIPT)
    assert places(directory) == [now.path]


def test_a_second_attempt_finds_what_the_job_has_left(pool: Pool, directory: Path, run_dir: Path) -> None:
    pool.add(UUID, 1, str(run_dir), SCRIPT)
    (directory / WAITING.path).unlink()
    (run_dir / "jfremote_out.json").touch()
    pool.add(UUID, 1, str(run_dir), SCRIPT)
    assert places(directory) == []


def test_markers_of_an_earlier_run_mean_nothing(pool: Pool, directory: Path, run_dir: Path) -> None:
    # Given a job that ran once, and another one that shares the beginning of its name
    pool.add(UUID, 1, str(run_dir), SCRIPT)
    move(directory, WAITING, FINISHED)
    other = Marker(UUID, 11, Place.RUNNING, BATCH)
    (directory / other.path).touch()

    # When it is uploaded and submitted anew
    forget_submission(LocalHost(), run_dir)
    pool.add(UUID, 1, str(run_dir), SCRIPT)

    # Then it waits, and nothing else is known of it
    assert places(directory) == [other.path, WAITING.path]


def test_a_look(pool: Pool, directory: Path, run_dir: Path) -> None:
    # Given a job that was seen in two places, files of others, and two allocations of which one speaks
    pool.add(UUID, 1, str(run_dir), SCRIPT)
    for path in (RUNNING.path, FINISHED.path, "submitted/.nfs01", "running/README"):
        (directory / path).touch()
    (run_dir / "batch_info.json").write_text(json.dumps({"start_time": "2026-01-02 03:04:05+00:00"}))

    # When the pool is looked at
    look = pool.look(tuple(Place), [str(run_dir), "/nowhere"])

    # Then the last place counts
    assert look.markers == {FINISHED.job: FINISHED}
    assert look.finished == [FINISHED]
    info = look.infos[str(run_dir)]
    assert info is not None
    assert info.start_time is not None
    assert look.infos["/nowhere"] is None
    assert pool.look((Place.SUBMITTED,)).markers == {WAITING.job: WAITING}


@pytest.mark.parametrize("missing", ["", "running"])
def test_a_pool_that_cannot_be_read_says_nothing(pool: Pool, directory: Path, run_dir: Path, missing: str) -> None:
    if missing:
        pool.add(UUID, 1, str(run_dir), SCRIPT)
        (directory / missing).rmdir()
    with pytest.raises(HostError, match=r"cannot look into .*the pool"):
        pool.look()


def test_putting_back(pool: Pool, directory: Path, run_dir: Path) -> None:
    pool.add(UUID, 1, str(run_dir), SCRIPT)
    move(directory, WAITING, RUNNING)
    assert pool.put_back(RUNNING)
    # The command may be repeated when the connection breaks.
    assert pool.put_back(RUNNING)
    assert places(directory) == [WAITING.path]


def test_what_moved_meanwhile_is_not_put_back(pool: Pool, directory: Path, run_dir: Path) -> None:
    pool.add(UUID, 1, str(run_dir), SCRIPT)
    move(directory, WAITING, FINISHED)
    assert not pool.put_back(RUNNING)
    assert places(directory) == [FINISHED.path]


def test_a_lost_job_waits_again(pool: Pool, directory: Path, run_dir: Path) -> None:
    pool.add(UUID, 1, str(run_dir), SCRIPT)
    (directory / WAITING.path).unlink()
    pool.add_again(UUID, 1)
    assert places(directory) == [WAITING.path]


def test_tidying_up(pool: Pool, directory: Path, run_dir: Path) -> None:
    pool.add(UUID, 1, str(run_dir), SCRIPT)
    pool.discard([WAITING, RUNNING])
    pool.discard([])
    assert places(directory) == []


@pytest.mark.parametrize(
    ("output", "complete"),
    [(None, False), ("{", False), ('{"start_time": "x"}', False), ('{"end_time": "x"}', True)],
)
def test_what_a_job_has_left(pool: Pool, run_dir: Path, output: str | None, complete: bool) -> None:
    if output is not None:
        (run_dir / "jfremote_out.json").write_text(output)
    assert pool.run_dir_state(run_dir.parent, str(run_dir)) == RunDirState(uploaded=True, complete=complete)


def test_a_job_that_lives(pool: Pool, run_dir: Path) -> None:
    with (run_dir / ALIVE_FILENAME).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert pool.run_dir_state(run_dir.parent, str(run_dir)).alive
    assert not pool.run_dir_state(run_dir.parent, str(run_dir)).alive


def test_a_run_directory_that_was_removed(pool: Pool, tmp_path: Path) -> None:
    assert pool.run_dir_state(tmp_path, str(tmp_path / "gone")) == RunDirState(uploaded=False)


def test_a_work_dir_that_is_away_says_nothing(pool: Pool, tmp_path: Path, run_dir: Path) -> None:
    with pytest.raises(HostError, match=r"cannot look for"):
        pool.run_dir_state(tmp_path / "not mounted", str(run_dir))
