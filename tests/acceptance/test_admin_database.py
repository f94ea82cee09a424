"""`admin reset`, `admin unlock...`, `admin index`, `batch` and `runner` as an administrator types them."""

from __future__ import annotations

from datetime import UTC, datetime

from jfr_mp.errors import ExitCode
from tests.support.user import User


def _batch(uid: str, process_id: str, state: str) -> dict[str, object]:
    now = datetime.now(UTC)
    return {
        "batch_uid": uid,
        "process_id": process_id,
        "batch_state": state,
        "worker": "local",
        "jobs": [["7", "some-uuid", 1]],
        "created_on": now,
        "updated_on": now,
    }


def test_batches_are_listed_and_deleted(user: User) -> None:
    # Given a batch that runs and one that has ended
    user.project.db.batches.insert_many([_batch("first", "41", "FINISHED"), _batch("second", "42", "RUNNING")])

    # Then they are found by state, job, identifier and scheduler id
    assert {row["batch_uid"] for row in user.json("batch", "list")} == {"first", "second"}
    assert [row["batch_uid"] for row in user.json("batch", "list", "-s", "running")] == ["second"]
    assert len(user.json("batch", "list", "-did", "7", "-jid", "some-uuid:1")) == 2
    assert "first" in user.ok("batch", "list", "-v")
    assert user.json("batch", "info", "42")["batch_uid"] == "second"
    assert "FINISHED" in user.ok("batch", "info", "first")

    # And an unknown one, no choice at all, and no confirmation are refused, and nothing is deleted
    unknown = user.types("batch", "info", "43")
    assert (unknown.returncode, "43" in unknown.stderr) == (ExitCode.ERROR, True)
    assert user.types("batch", "delete", "-y").returncode == ExitCode.USAGE
    assert "--yes" in user.types("batch", "delete", "-s", "FINISHED").stderr
    assert user.project.db.batches.count_documents({}) == 2

    # When a record of an early version is repaired, then only that one
    user.project.db.batches.insert_one({**_batch("old", "40", "FINISHED"), "jobs": {}})
    assert user.json("batch", "fix-batch-doc-jobs-dict") == {"fixed": 1}
    assert user.json("batch", "info", "old")["jobs"] == []
    assert len(user.json("batch", "info", "first")["jobs"]) == 1

    # When the one that has ended is deleted, then the other stays
    assert "2 batches." in user.ok("batch", "delete", "-s", "FINISHED", "-y")
    assert [row["batch_uid"] for row in user.json("batch", "list")] == ["second"]


def test_locks_indexes_and_a_reset(user: User) -> None:
    # Given a job and a flow that a process of another program has locked
    user.project.db.jobs.insert_one({"db_id": "1", "uuid": "u", "index": 1, "state": "READY", "lock_id": "other"})
    flow = "e1d66c4f-81db-4fff-bda2-2bf1d79d5961"
    user.project.db.flows.insert_one({"uuid": flow, "jobs": ["u"], "ids": [["1", "u", 1]], "lock_id": "other"})

    # Then locks are broken only where they are chosen, and after a confirmation
    assert user.types("admin", "unlock", "-y").returncode == ExitCode.USAGE
    assert user.types("admin", "unlock-flow", "-y").returncode == ExitCode.USAGE
    assert "--yes" in user.types("admin", "unlock", "-did", "1").stderr
    assert "--locked" in user.refused("admin", "unlock", "-did", "2", "-y", code=ExitCode.ERROR)
    assert "1 job" in user.ok("admin", "unlock", "-did", "1", "-y")
    assert "1 flow" in user.ok("admin", "unlock-flow", "-fid", flow, "-y")
    assert user.project.db.jobs.find_one()["lock_id"] is None
    assert user.project.db.flows.find_one()["lock_id"] is None

    # When indexes are made and built again
    user.ok("admin", "index", "create", "name", "desc", "-c", "flows")
    assert "name_-1" in user.project.db.flows.index_information()
    user.ok("admin", "index", "rebuild")
    assert "name_-1" not in user.project.db.flows.index_information()

    # Then a reset asks first, and deletes everything
    assert "--yes" in user.types("admin", "reset").stderr
    assert user.project.db.jobs.count_documents({}) == 1
    user.ok("admin", "reset", "-y")
    assert user.project.db.jobs.count_documents({}) == 0
    assert "not locked" in user.ok("admin", "unlock-runner")


def test_a_reset_is_refused_while_something_runs_and_runner_is_another_name(user: User) -> None:
    # Given processes that were started by jobflow-remote's name of the command, with its numbers of processes
    user.ok("runner", "start", "--transfer", "2", "-com=1")
    try:
        assert user.types("runner", "status").returncode == ExitCode.OK

        # When the database is to be reset, then it is refused
        refused = user.types("admin", "reset", "-y")
        assert refused.returncode == ExitCode.ALREADY_RUNNING
        assert "jfr-mp stop" in refused.stderr
        # and so is the removal of its record, or of its project
        assert user.types("runner", "reset", "-y").returncode == ExitCode.ALREADY_RUNNING
        assert user.types("project", "remove", user.project.name, "-y").returncode == ExitCode.ALREADY_RUNNING

        # And its processes and its record are shown
        shown = user.json("runner", "info", "--pings")
        assert [role["name"] for role in shown["masters"][0]["roles"]].count("transfer-2") == 1
        assert shown["runner"]["project_name"] == user.project.name
    finally:
        user.ok("runner", "shutdown", "--all", "--wait", "--max-wait", "60", "--json", "stopped.json")
    assert (user.desk / "stopped.json").read_text() == f'["{user.project.name}"]\n'
    assert user.types("runner", "info").returncode == ExitCode.NOT_RUNNING
