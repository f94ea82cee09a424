"""The watcher: what it notices of jobs, flows, hosts and processes, and where it goes on after a restart."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jfr_mp import submit_flow
from jfr_mp.config import ConfigManager
from jfr_mp.config.notifications import NotifyRule, Occasion
from jfr_mp.database import processes
from jfr_mp.database.connection import QueueDatabase
from jfr_mp.database.notifications import Outbox
from jfr_mp.database.processes import Report
from jfr_mp.identity import new_owner
from jfr_mp.membership.records import master_record
from jfr_mp.model import Outage
from jfr_mp.notify.watcher import Watcher
from tests.support.jobs import add
from tests.support.mongod import Mongod
from tests.support.projects import ProjectFactory, TestProject
from tests.support.waiting import wait_until


@pytest.fixture
def project(fresh_project: ProjectFactory) -> TestProject:
    return fresh_project()


@pytest.fixture
def db(project: TestProject) -> Iterator[QueueDatabase]:
    opened = QueueDatabase.connect(ConfigManager().get_project())
    yield opened
    opened.close()


def rules(**fields: Any) -> dict[str, NotifyRule]:
    made = {"on": list(Occasion), "to": ["mail"], "after": 0.001, **fields}
    return {"r": NotifyRule.model_validate(made)}


def subjects(db: QueueDatabase) -> dict[str, str]:
    """Return what has been noticed: the subjects by occasion."""
    return {each["occasion"]: each["subject"] for each in db.notifications.find({"kind": "notice"})}


def fail(project: TestProject, db_id: str, state: str = "FAILED") -> None:
    now = datetime.now(UTC)
    changed = {"$set": {"state": state, "updated_on": now, "error": "Traceback\nValueError: no"}}
    job = project.db.jobs.find_one_and_update({"db_id": db_id}, changed)
    project.db.flows.update_one({"jobs": job["uuid"]}, {"$set": {"state": "FAILED", "updated_on": now}})


@pytest.mark.parametrize("kind", ["replica set", "standalone"])
def test_failures_are_noticed_once_over_restarts(
    kind: str, fresh_project: ProjectFactory, mongod_standalone: Mongod
) -> None:
    # Given a failure before anything watches, and one after it
    project = fresh_project("p", server=None if kind == "replica set" else mongod_standalone)
    db = QueueDatabase.connect(ConfigManager().get_project())
    outbox = Outbox(db)
    (early,) = submit_flow(add(1))
    fail(project, early)
    db.jobs.update_many({}, {"$set": {"updated_on": datetime.now(UTC) - timedelta(hours=1)}})
    db.flows.update_many({}, {"$set": {"updated_on": datetime.now(UTC) - timedelta(hours=1)}})
    watcher = Watcher(db, outbox)
    watcher.turn(rules())
    (first,) = submit_flow(add(1))
    fail(project, first)

    def noticed() -> list[str]:
        found = db.notifications.find({"kind": "notice"}, sort=[("noticed", 1)])
        return [f"{each['occasion']} {each['subject']}" for each in found]

    def turn_until(number: int) -> None:
        def turned() -> bool:
            watcher.turn(rules())
            return len(noticed()) >= number

        wait_until(turned, 20, f"{number} notices, now {noticed()}")

    turn_until(2)
    assert f"job_failed job {first} (add) of the flow Flow on local" in noticed()[0] + noticed()[1]

    # When another process goes on, from what it finds, and a job fails meanwhile
    watcher.close()
    (second,) = submit_flow(add(2))
    fail(project, second, "REMOTE_ERROR")
    watcher = Watcher(db, outbox)
    turn_until(4)
    watcher.turn(rules())

    # Then each of them was noticed once
    assert len(noticed()) == 4
    assert {text.partition(" ")[0] for text in noticed()} == {"job_failed", "flow_failed", "remote_error"}
    watcher.close()
    db.close()


def test_hosts_and_processes_in_trouble(db: QueueDatabase) -> None:
    # Given a master that reports two unreachable hosts and a role process that was given up, and a lost master
    now = datetime.now(UTC)
    down = Outage(host="far, wide", since=now, why="no route", next_try=now)
    closed = Outage(host="door", since=now, why="log in", next_try=now, wants_login=True)
    owner = new_owner()
    processes.register(db, master_record(db, owner, []))
    rows = [{"name": "queue-1", "state": "FATAL", "last_error": "Traceback\nImportError: no"}, {"state": "RUNNING"}]
    processes.heartbeat(db, owner, Report(outages=[down, closed], rows=rows))
    lost = new_owner()
    processes.register(db, master_record(db, lost, []).model_copy(update={"host": "gone"}))
    processes.evict_lost(db, lost, "it was lost")

    # When the time of the rule has passed, then all of it is noticed, once
    watcher, outbox = Watcher(db, Outbox(db)), Outbox(db)
    watcher.turn(rules(after=3600.0))
    assert set(subjects(db)) == {"role_fatal", "master_lost"}
    Watcher(db, outbox).turn(rules())
    Watcher(db, outbox).turn(rules())
    found = subjects(db)
    assert found["host_down"] == "the host of far, wide"
    assert found["login_needed"] == "the host of door"
    assert found["master_lost"] == "the master on gone"
    assert found["role_fatal"].startswith("queue-1 on ")
    assert outbox.waiting() == {"r": 4}

    # And a rule for other workers has none of the hosts
    Watcher(db, outbox).turn({"s": rules(workers=["other"])["r"]})
    assert outbox.waiting()["s"] == 2
