"""Repairing the queue by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

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


def test_locks_of_jobflow_remote_are_respected(user: User) -> None:
    flow = _half_done(user)
    assert "it looks incomplete; to do: wait until lock of the peer is released" in user.ok("admin", "reconcile")
    assert flow.states == ["COMPLETED", "WAITING"]
