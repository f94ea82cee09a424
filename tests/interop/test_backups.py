"""Both packages restore what the other one has backed up."""

from __future__ import annotations

from pathlib import Path

from jfr_mp import JobController
from tests.interop.flows import FLOWS, submit_all
from tests.support.peer import Peer
from tests.support.projects import ProjectFactory, TestProject

COLLECTIONS = ("jobs", "flows", "jf_auxiliary", "batches")


def content(project: TestProject) -> dict[str, list[object]]:
    """Return all documents of a project."""
    return {name: list(project.db[name].find().sort("_id")) for name in COLLECTIONS}


def test_backups_of_both(project: TestProject, peer: Peer, fresh_project: ProjectFactory, tmp_path: Path) -> None:
    # Given a database with the flows that both run, a batch, and an empty one
    from jfr_mp import submit_flow

    submit_all(submit_flow, list(FLOWS)[:3])
    project.db.batches.insert_one({"batch_uid": "b"})
    expected = content(project)
    empty = fresh_project("empty")

    # When the peer backs it up, then we restore it
    peer.tool("dump", str(tmp_path / "theirs"))
    controller = JobController.from_project_name("empty")
    controller.backup_restore(tmp_path / "theirs" / project.db.name, python=True)
    assert content(empty) == expected

    # When we back it up, then the peer restores it
    controller.backup_dump(tmp_path / "ours", python=True)
    other = fresh_project("other")
    Peer(Path(peer.command()[0]).with_name("python"), other).tool("restore", str(tmp_path / "ours" / empty.db.name))
    assert content(other) == expected
    controller.close()
