"""Documents in the queue database that no version of jfr-mp has written: masters start and go on, and good jobs run."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from jfr_mp.errors import ExitCode
from tests.support.processes import is_alive
from tests.support.user import User
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(200)

OWN_COLLECTIONS = (
    "jfr_mp_processes",
    "jfr_mp_orders",
    "jfr_mp_leases",
    "jfr_mp_bus_keys",
    "jfr_mp_lost_masters",
    "jfr_mp_paused_workers",
    "jfr_mp_notifications",
)
#: Documents of no kind, and values of other types than those that belong there.
BROKEN: list[dict[str, Any]] = [{}, {"name": ["stop"], "arguments": "x", "heartbeat": "now", "host": 5}, {"kind": 7}]
BROKEN_JOBS: list[dict[str, Any]] = [
    {"state": "READY"},
    {"state": "READY", "db_id": "900", "uuid": 5, "index": "x", "worker": "local", "lock_id": None},
    {"state": "RUNNING", "db_id": "901", "uuid": "x", "index": 1, "worker": "local", "remote": 5, "lock_id": None},
    {"state": "CHECKED_OUT", "db_id": "902", "uuid": "y", "index": 1, "worker": "local", "lock_id": None},
    {"state": 12, "db_id": "903", "uuid": "z", "index": 1, "lock_id": 5},
]
#: What one process of the deployment does at a time.
BROKEN_LEASES = ("reconcile",)
BROKEN_ORDERS: list[dict[str, Any]] = [
    {},
    {"_id": "1", "name": 5, "sender": "x"},
    {"_id": "2", "name": "stop", "sender": "x", "arguments": "x"},
    {"_id": "3", "name": "stop", "sender": "x", "arguments": {"drain": "perhaps"}},
    {"_id": "4", "name": "scale", "sender": "\x1b[2J", "arguments": {"role": "transfer", "number": 10**9}},
    {"_id": "5", "name": "x" * 100_000, "sender": "x"},
]


def test_broken_documents_stop_no_master(user: User) -> None:
    # Given broken documents in every collection, and a job
    db = user.project.db
    flow = user.submit("add(1, 2)")
    for name in OWN_COLLECTIONS:
        db[name].insert_many([dict(document) for document in BROKEN])
    db.jobs.insert_many(BROKEN_JOBS)
    db.jfr_mp_leases.insert_many([{"_id": name} for name in BROKEN_LEASES])
    # When a master is started, then the good job runs
    user.ok("start")
    (master,) = user.masters()
    wait_until(lambda: flow.job()["state"] == "COMPLETED", 60, "the good job")

    # When broken orders come, and a good one after them
    now = db.command("hello")["localTime"]
    good = {"_id": "6", "name": "log-level", "sender": "x", "arguments": {"level": "debug"}}
    record = db.jfr_mp_processes.find_one({"pid": master["pid"]})
    assert record is not None
    addressed = {"master": record["_id"], "created_on": now, "taken_on": None}
    db.jfr_mp_orders.insert_many([{**addressed, **order} for order in [*BROKEN_ORDERS, good]])
    # Then the good one is carried out, and the others leave the master as it was
    wait_until(lambda: (db.jfr_mp_orders.find_one({"_id": "6"}) or {}).get("done"), 30, "the good order")
    assert is_alive(master["pid"])
    log = user.log("master")
    assert "Traceback" not in log
    assert "\x1b" not in log
    assert max(map(len, log.splitlines())) < 2000

    # And the check names each broken document, and the keys that somebody has put there are listed
    findings = user.json("admin", "check", code=ExitCode.ERROR)["findings"]
    damaged = Counter(each["collection"] for each in findings if each["rule"] == "damaged-document")
    # The master has forgotten the orders without a time.
    damaged.pop("jfr_mp_orders")
    others = [name for name in OWN_COLLECTIONS if name != "jfr_mp_orders"]
    assert damaged == {**dict.fromkeys(others, len(BROKEN)), "jobs": len(BROKEN_JOBS)}
    assert {"1", "2"} <= {each["document"] for each in findings if each["collection"] == "jfr_mp_orders"}
    assert len(user.json("bus", "keys", "list")) == len(BROKEN)
    # And can be deleted
    user.ok("admin", "reconcile", "--delete-damaged", "-y")
    assert user.json("admin", "check")["findings"] == []
