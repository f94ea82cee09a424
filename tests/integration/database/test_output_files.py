"""Output files in the database: written under a token, read by it alone, and removed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jfr_mp.database import output_files, processes
from jfr_mp.database.deployment import Deployment
from jfr_mp.database.output_files import OutputFiles, Strays
from jfr_mp.errors import SplitRefused
from jfr_mp.membership.records import role_record
from jfr_mp.membership.split import check_split
from jfr_mp.model import JobDoc
from jfr_mp.places import Places
from jfr_mp.step_table import Role
from tests.support.jobs import add


def _in_queue(queue: Any, state: str = "DOWNLOADED", **remote: Any) -> JobDoc:
    queue.add(job := add(1))
    fields = {"state": state, **{f"remote.{name}": value for name, value in remote.items()}}
    queue.db.jobs.update_one({"uuid": job.uuid}, {"$set": fields})
    return _job(queue, job.uuid)


def _job(queue: Any, uuid: str) -> JobDoc:
    found = queue.db.jobs.find_one({"uuid": uuid}, {"_id": 0})
    return JobDoc.model_validate(found)


def _commit(queue: Any, job: JobDoc, token: str) -> JobDoc:
    queue.db.jobs.update_one({"uuid": job.uuid}, {"$set": {"remote.outputs": token}})
    return _job(queue, job.uuid)


def _names(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def test_files_arrive_by_the_token_that_was_committed(queue: Any, tmp_path: Path) -> None:
    # Given two attempts of a download, of which the later one lost its lock
    files, job = OutputFiles(queue.db), _in_queue(queue)
    source = tmp_path / "source"
    source.mkdir()
    (source / "out.json").write_bytes(b"x" * 600_000)
    first = files.put(job, source, ["out.json", "missing"])
    (source / "out.json").write_bytes(b"wrong")
    files.put(job, source, ["out.json"])
    job = _commit(queue, job, first)
    # When
    assert files.get(job, tmp_path / "target")
    # Then
    assert _names(tmp_path / "target") == {"out.json": b"x" * 600_000}
    # And when the job has ended, nothing of either is left
    files.remove(job)
    assert queue.db.db["jfr_mp_outputs.chunks"].count_documents({}) == 0
    assert not files.get(job, tmp_path / "nothing")


def test_files_that_no_job_waits_for_are_garbage(queue: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given the files of a job that waits, of one that has ended, and of an attempt that was interrupted
    files = OutputFiles(queue.db)
    waiting, ended, interrupted = _in_queue(queue), _in_queue(queue), _in_queue(queue)
    _commit(queue, waiting, kept := files.put(waiting, tmp_path, []))
    _commit(queue, ended, files.put(ended, tmp_path, []))
    queue.db.jobs.update_one({"uuid": ended.uuid}, {"$set": {"state": "COMPLETED"}})
    files.put(interrupted, tmp_path, [])
    # When
    files.collect_garbage()
    assert queue.db.db["jfr_mp_outputs.files"].count_documents({}) == 3
    monkeypatch.setattr(output_files, "_GARBAGE_AFTER", -1.0)
    files.collect_garbage()
    # Then
    (left,) = queue.db.db["jfr_mp_outputs.files"].find()
    assert kept in left["filename"]


def test_output_that_no_complete_role_sees_is_downloaded_again(queue: Any) -> None:
    # Given a complete role that sees one place
    processes.register(queue.db, role_record(queue.db, "h:1:a", "complete-1", (Role.COMPLETE,), ["seen"]))
    jobs = {
        "anywhere": _in_queue(queue),
        "seen": _in_queue(queue, place="seen"),
        "gone": _in_queue(queue, place="gone"),
        "local": _in_queue(queue, place="work", home="work"),
    }
    now = 0.0
    strays = Strays(queue.db, Deployment(queue.db), lambda: now)
    # When a process may only be restarting, nothing happens
    assert strays.send_back() == 0
    # When nobody has seen the places for a while
    now = 11.0
    assert strays.send_back() == 2
    # Then
    found = {name: _job(queue, job.uuid) for name, job in jobs.items()}
    assert {name: job.state.name for name, job in found.items()} == {
        "anywhere": "DOWNLOADED",
        "seen": "DOWNLOADED",
        "gone": "RUN_FINISHED",
        "local": "RUN_FINISHED",
    }
    places = {name: (job.remote.model_extra or {}).get("place") for name, job in found.items()}
    assert (places["gone"], places["local"]) == (None, "work")


def test_roles_that_cannot_work_apart_are_refused(queue: Any) -> None:
    # Given the role queue on a machine that does not see the work_dir of the only worker, which is local
    Places(queue.db.project).prepare()
    processes.register(queue.db, role_record(queue.db, "h:1:a", "queue-1", (Role.QUEUE,), ["elsewhere"]))
    # Then
    with pytest.raises(SplitRefused, match="the role transfer cannot serve the local workers"):
        check_split(queue.db, (Role.CHECKOUT, Role.TRANSFER))
    check_split(queue.db, (Role.TRANSFER, Role.QUEUE))
    check_split(queue.db, (Role.CHECKOUT, Role.COMPLETE))
