"""Repairing the queue by hand."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime, timedelta

from jfr_mp.errors import ExitCode
from tests.support.user import Submitted, User


def _half_done(user: User) -> Submitted:
    """Submit a flow and leave it as a killed daemon of jobflow-remote does: parent done, child waiting, both locked."""
    flow = user.submit("chain(2)")
    locked = {"lock_id": "of the peer", "lock_time": datetime.now(UTC) - timedelta(hours=1)}
    user.project.db.jobs.update_one({"db_id": flow.db_ids[0]}, {"$set": {"state": "COMPLETED", **locked}})
    user.project.db.flows.update_one({}, {"$set": locked})
    return flow


def test_reconcile_says_and_does_what_is_due(user: User) -> None:
    # Given an incomplete flow, and a user who knows that no process of jobflow-remote is running
    flow = _half_done(user)

    # When it is only looked at
    found = user.json("admin", "reconcile", "--dry-run", "--break-locks")

    # Then it is said
    assert [(lock["collection"], lock["lock_id"]) for lock in found["locks"]] == [
        ("jobs", "of the peer"),
        ("flows", "of the peer"),
    ]
    assert [finding["repaired"] for finding in found["flows"]] == [False, False]
    assert flow.states == ["COMPLETED", "WAITING"]

    # And when it is repaired, then it is done
    said = user.ok("admin", "reconcile", "--break-locks")
    assert "lock of the peer" in said
    assert f"its jobs {flow.db_ids[1]} are WAITING although their parents are done" in said
    assert (flow.states, flow.flow["state"], flow.flow["lock_id"]) == (["COMPLETED", "READY"], "RUNNING", None)
    assert user.ok("admin", "reconcile") == "Nothing to repair.\n"


def test_check_names_the_fault_and_its_repair_works(user: User) -> None:
    # Given a queue with a damaged job, a dead process and a counter that is behind
    flow = user.submit("chain(2)")
    assert "No findings; examined: 1 flow, 2 jobs." in user.ok("admin", "check")
    db = user.project.db
    db.jobs.update_one({"db_id": flow.db_ids[0]}, {"$set": {"state": "SUBMITTED", "run_dir": "/x"}})
    db.flows.update_one({}, {"$set": {"state": "RUNNING"}})
    db.jf_auxiliary.update_one({"next_id": {"$exists": True}}, {"$set": {"next_id": 1}})
    long_ago = datetime.now(UTC) - timedelta(hours=1)
    process = {"kind": "role", "project": user.project.name, "host": "gone", "pid": 1, "create_time": 1.0}
    db.jfr_mp_processes.insert_one({"_id": "gone:1:ab", **process, "started_on": long_ago, "heartbeat": long_ago})

    # When it is checked, then the faults are there with their repairs, and the exit code says so
    found = user.json("admin", "check", code=ExitCode.ERROR)["findings"]
    assert [finding["rule"] for finding in found] == ["counter-behind", "dead-process", "no-process-id"]
    said = user.types("admin", "check")
    assert said.returncode == ExitCode.ERROR
    assert f"jobs {flow.db_ids[0]}: it is SUBMITTED and has no id of the scheduler" in said.stdout

    # And when the commands are run, then nothing is wrong any more
    for repair in dict.fromkeys(finding["repair"] for finding in found):
        user.ok(*shlex.split(repair)[1:], *(["-y"] if "rerun" in repair else []))
    assert user.json("admin", "check")["findings"] == []
    assert user.submit("chain(1)").db_ids == ("3",)


def test_a_damaged_job_is_named_and_can_be_deleted(user: User) -> None:
    # Given a job with a field that cannot be read
    flow = user.submit("chain(1)")
    user.project.db.jobs.update_one({"db_id": flow.db_ids[0]}, {"$set": {"remote": 7.5}})

    # When jobs are listed, then the error says where to look
    assert "is damaged (remote); `jfr-mp admin check` names it" in user.refused("job", "list", code=ExitCode.DATABASE)

    # And it can be deleted
    [finding] = user.json("admin", "check", code=ExitCode.ERROR)["findings"]
    assert finding["document"] == flow.db_ids[0]
    assert "to do: delete it" in user.ok("admin", "reconcile", "--delete-damaged", "--dry-run")
    user.ok(*shlex.split(finding["repair"])[1:], "-y")
    assert user.project.db.jobs.count_documents({}) == 0


def test_locks_of_jobflow_remote_are_respected(user: User) -> None:
    flow = _half_done(user)
    assert "it looks incomplete; to do: wait until lock of the peer is released" in user.ok("admin", "reconcile")
    assert flow.states == ["COMPLETED", "WAITING"]
