"""Backups of the queue database: in one file or a directory, verified, restored into this or another project."""

from __future__ import annotations

import logging
import shutil
import stat
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from jfr_mp import JobController, submit_flow
from jfr_mp.errors import BackupError
from tests.support.jobs import add
from tests.support.mongod import Mongod
from tests.support.projects import ProjectFactory

COUNTS = {"jobs": 3, "flows": 2, "jf_auxiliary": 4, "batches": 1}
Content = dict[str, list[dict[str, Any]]]


@pytest.fixture
def source(fresh_project: ProjectFactory) -> Iterator[JobController]:
    """The controller of a project with two flows and a batch."""
    project = fresh_project("source")
    submit_flow([add(1, 2), add(3, 4)])
    submit_flow(add(5))
    project.db.batches.insert_one({"batch_uid": "b1", "worker": "local"})
    with closing(JobController.from_project_name("source")) as controller:
        yield controller


@pytest.fixture
def target(fresh_project: ProjectFactory, source: JobController) -> Iterator[JobController]:
    """The controller of another project, whose database is empty."""
    fresh_project("target")
    with closing(JobController.from_project_name("target")) as controller:
        yield controller


def content(controller: JobController) -> Content:
    """Return all documents of a project."""
    names = {"jobs": "jobs", "flows": "flows", "jf_auxiliary": "auxiliary", "batches": "batches"}
    return {
        name: sorted(controller.get_collection(each).find(), key=lambda document: str(document["_id"]))
        for name, each in names.items()
    }


@pytest.mark.parametrize(
    ("path", "compress", "files"),
    [
        ("backup.zip", False, ["backup.zip"]),
        ("backup", False, [f"{name}.bson" for name in COUNTS]),
        ("backup", True, [f"{name}.bson.gz" for name in COUNTS]),
    ],
    ids=["one file", "directory", "compressed directory"],
)
def test_another_project_gets_the_same_documents(
    path: str, compress: bool, files: list[str], source: JobController, target: JobController, tmp_path: Path
) -> None:
    # When a project is backed up
    seen: list[tuple[str, int, int]] = []
    place = tmp_path / path
    assert source.backup_dump(place, compress=compress, progress=lambda *args: seen.append(args)) == COUNTS

    # Then the files are there, only their owner can read them, and progress was reported for each collection
    found = {file.name: file for file in ([place] if place.is_file() else place.rglob("*.bson*"))}
    assert sorted(found) == sorted(files)
    assert {stat.S_IMODE(file.stat().st_mode) for file in found.values()} == {0o600}
    assert {name: (done, total) for name, done, total in seen} == {name: (each, each) for name, each in COUNTS.items()}

    # And another project restores them, with its indexes
    assert target.backup_restore(place) == COUNTS
    assert content(target) == content(source)
    assert "db_id_1" in target.jobs.index_information()
    assert target.get_job_doc(db_id="3").job.function_args == [5]  # type: ignore[union-attr]

    # And the next flow gets the next number
    assert submit_flow(add(1), project="target") == ["4"]


def test_an_unpacked_file_is_a_backup(source: JobController, target: JobController, tmp_path: Path) -> None:
    # Given a backup in one file that somebody unpacked into a directory below another one
    source.backup_dump(tmp_path / "a.zip")
    zipfile.ZipFile(tmp_path / "a.zip").extractall(tmp_path / "above" / "unpacked")

    # Then the directory is found from above
    assert target.backup_restore(tmp_path / "above") == COUNTS
    assert content(target) == content(source)


def test_a_second_backup_replaces_the_first(source: JobController, target: JobController, tmp_path: Path) -> None:
    # Given a backup that is older than the last flow, with the other compression
    source.backup_dump(tmp_path, compress=True)
    submit_flow(add(7), project="source")

    # When there is another one, then only that is left
    source.backup_dump(tmp_path)
    assert target.backup_restore(tmp_path)["jobs"] == 4


@pytest.mark.parametrize("name", ["backup", "backup.zip"])
def test_links_in_the_way_are_not_followed(source: JobController, tmp_path: Path, name: str) -> None:
    # Given a directory in which another user has put links, and a file that everybody can read
    victim, backup = tmp_path / "victim", tmp_path / name
    victim.write_text("precious")
    if name == "backup":
        directory = backup / source.db.db.name
        directory.mkdir(parents=True)
        places = [directory / each for each in ("jobs.bson.part", "manifest.json", "manifest.json.part")]
    else:
        places = [tmp_path / "backup.zip.part"]
    for place in places:
        place.symlink_to(victim)
    # When a backup is made
    source.backup_dump(backup)
    # Then it has replaced the links, and other users cannot read it
    assert victim.read_text() == "precious"
    files = [*directory.iterdir()] if name == "backup" else [backup]
    assert files
    for file in files:
        assert not file.is_symlink()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_backup_while_a_runner_works_is_of_one_moment(source: JobController, tmp_path: Path) -> None:
    # Given a runner that works on the database
    source.auxiliary.update_one({"running_runner": {"$exists": True}}, {"$set": {"running_runner": {"hostname": "h"}}})

    # When a flow is submitted in the middle of a backup
    def submit(name: str, done: int, total: int) -> None:
        if name == "jobs" and done == total:
            submit_flow(add(7), project="source")

    counts = source.backup_dump(tmp_path / "a.zip", progress=submit)

    # Then the backup has nothing of it
    assert source.count_flows() == 3
    assert counts == COUNTS


def test_a_server_without_snapshots_needs_the_runner_to_stop(
    fresh_project: ProjectFactory, mongod_standalone: Mongod, tmp_path: Path
) -> None:
    fresh_project(server=mongod_standalone)
    submit_flow(add(1))
    with closing(JobController.from_project_name()) as controller:
        runner = {"running_runner": {"$exists": True}}
        controller.auxiliary.update_one(runner, {"$set": {"running_runner": {"hostname": "h"}}})
        with pytest.raises(BackupError, match="stop the runner first"):
            controller.backup_dump(tmp_path / "a.zip")
        assert list(tmp_path.glob("*.zip*")) == []
        controller.auxiliary.update_one(runner, {"$set": {"running_runner": None}})
        assert controller.backup_dump(tmp_path / "a.zip")["jobs"] == 1


def test_locks_and_runners_stay_behind(
    source: JobController, target: JobController, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # Given a locked job on a worker that the other project does not have, and a runner
    source.jobs.update_one({"db_id": "1"}, {"$set": {"lock_id": "somebody", "worker": "far"}})
    source.auxiliary.update_one({"running_runner": {"$exists": True}}, {"$set": {"running_runner": {"hostname": "h"}}})
    source.auxiliary.update_one({"runner_pings": {"$exists": True}}, {"$set": {"runner_pings": [{"hostname": "h"}]}})
    source.backup_dump(tmp_path / "a.zip")

    # When it is restored elsewhere
    with caplog.at_level(logging.WARNING):
        target.backup_restore(tmp_path / "a.zip")

    # Then nobody holds the job, nobody seems to work, and the user hears of the worker
    assert target.get_job_info(db_id="1").lock_id is None  # type: ignore[union-attr]
    assert target.get_running_runner() is None
    assert target.get_runner_pings() == []
    assert "has no workers far" in caplog.text


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-30])


def _flip(path: Path) -> None:
    damaged = bytearray(path.read_bytes())
    damaged[200] ^= 0xFF
    path.write_bytes(damaged)


@pytest.mark.parametrize(
    ("damaged", "message"),
    [
        (("a.zip", "a.zip", _cut), "is not a backup, or it is truncated"),
        (("a.zip", "a.zip", _flip), "is damaged"),
        (("plain", "jobs.bson", _cut), "document 3 of jobs.bson"),
        (("plain", "jobs.bson", _flip), "jobs.bson"),
        (("plain", "jobs.bson", lambda path: path.write_bytes(b"\xff\xff\xff\x7f")), "claims 2147483647 bytes"),
        (("plain", "manifest.json", lambda path: path.write_text("[" * 90_000)), "does not have the figures"),
        (("plain", "manifest.json", lambda path: path.write_text(" " * 200_000)), "more than 100000 bytes"),
        (("plain", "flows.bson", Path.unlink), "has no flows.bson"),
        (("plain", "flows.bson", lambda path: path.write_bytes(b"")), "flows.bson has 0 documents"),
        (("plain", "jobs.bson", lambda path: shutil.copy(path, path.with_name("jobs.bson.gz"))), "remove one of them"),
    ],
)
def test_a_damaged_backup_changes_nothing(
    damaged: tuple[str, str, Any], message: str, source: JobController, target: JobController, tmp_path: Path
) -> None:
    # Given a backup that is damaged
    path, file, damage = damaged
    source.backup_dump(tmp_path / path)
    damage(next(found for found in tmp_path.rglob(file) if found.is_file()))
    before = content(target)

    # When it is to be restored, then it is refused before anything is changed
    with pytest.raises(BackupError, match=message):
        target.backup_restore(tmp_path / path)
    assert content(target) == before


def test_only_an_empty_database_is_restored(source: JobController, tmp_path: Path) -> None:
    source.backup_dump(tmp_path / "a.zip")
    before = content(source)
    with pytest.raises(BackupError, match="jobs has 3 documents"):
        source.backup_restore(tmp_path / "a.zip")
    assert content(source) == before

    # And after a reset it is
    assert source.reset()
    assert source.backup_restore(tmp_path / "a.zip") == COUNTS
    assert content(source) == before


@pytest.mark.parametrize(("path", "message"), [("nowhere", "no such file"), ("empty", "no backup")])
def test_no_backup(path: str, message: str, target: JobController, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BackupError, match=message):
        target.backup_restore(tmp_path / path)


def test_two_backups_need_a_name(source: JobController, target: JobController, tmp_path: Path) -> None:
    source.backup_dump(tmp_path / "b" / "one.zip")
    source.backup_dump(tmp_path / "b" / "two.zip")
    with pytest.raises(BackupError, match=r"several backups: one\.zip, two\.zip"):
        target.backup_restore(tmp_path / "b")


def test_what_cannot_be_written_leaves_nothing(source: JobController, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BackupError, match="cannot be written"):
        source.backup_dump(tmp_path / "file" / "a.zip")

    # And what is interrupted leaves nothing, in either form
    def interrupt(name: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    for path in ("a.zip", "plain"):
        with pytest.raises(KeyboardInterrupt):
            source.backup_dump(tmp_path / path, progress=interrupt)
    assert [found for found in tmp_path.rglob("*") if found.suffix in {".bson", ".part", ".zip"}] == []


def test_another_writer_is_noticed(
    source: JobController, target: JobController, tmp_path: Path, fresh_project: ProjectFactory
) -> None:
    # Given another process that inserts into the database while it is restored
    source.backup_dump(tmp_path / "a.zip")

    def insert(name: str, done: int, total: int) -> None:
        if name == "jobs":
            target.jobs.insert_one({"uuid": "other", "index": 1, "db_id": "77"})

    # Then the restored documents are not those of the backup, and the database is empty again
    with pytest.raises(BackupError, match="4 documents of jobs were read back"):
        target.backup_restore(tmp_path / "a.zip", progress=insert)
    assert target.count_jobs() == target.count_flows() == 0
    assert submit_flow(add(1), project="target") == ["1"]
