"""The log of all machines on one page."""

from __future__ import annotations

from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.gui import Browser
from tests.support.machines import Machine, require_namespaces, wait_for_roles
from tests.support.processes import Processes
from tests.support.projects import ProjectFactory, TestProject
from tests.support.waiting import wait_until


@pytest.fixture
def own_project(fresh_project: ProjectFactory) -> TestProject:
    return fresh_project(metadata={"jfr_mp": {"lease_ttl": 8.0, "heartbeat_interval": 0.5}})


def test_the_log_of_this_machine_is_shown_and_filtered(own_project: TestProject, own_operator: Browser) -> None:
    assert "There are no entries" in own_operator.page("/p/main/log")
    directory = own_project.base_dir / "log" / "jfr_mp"
    directory.mkdir(parents=True)
    entry = "2026-01-31 12:00:00,000 [{}] queue-1 7 jfr_mp.engine: job 3: <i>{}</i>\n".format
    (directory / "queue-1.log").write_text(entry("INFO", "begun") + entry("ERROR", "broken"))

    shown = own_operator.page("/p/main/log")
    assert "job 3: &lt;i&gt;begun" in shown
    assert "is not complete" not in shown
    assert "job 3: &lt;i&gt;begun" not in own_operator.page("/p/main/log?level=error")
    assert "There are no entries" in own_operator.page("/p/main/log?job=4")
    assert "There are no entries" in own_operator.page("/p/main/log?role=transfer")
    for wrong in ("level=loud", f"job={'9' * 100}", f"role={'x' * 100}"):
        assert f"{wrong.partition('=')[0]} is " in own_operator.page(f"/p/main/log?{wrong}", 400)


def test_the_logs_of_other_machines_are_shown_and_missing_ones_are_named(
    own_project: TestProject, own_operator: Browser, processes: Processes, tmp_path: Path
) -> None:
    require_namespaces()
    # Given a master on another machine, and the record of one that does nothing
    Machine("node2", tmp_path / "node2", own_project, processes).start("--checkout", "--complete")
    wait_for_roles(own_project, "checkout", "complete")
    records = own_project.db.jfr_mp_processes
    master = records.find_one({"kind": "master"})
    assert master is not None
    later = master["heartbeat"] + timedelta(hours=1)
    silent = {"_id": "gone:1:a", "host": "n<3>", "machine": "f" * 16, "heartbeat": later}
    records.insert_one({**master, **silent})
    # When a user reads the log, then the page says at once that others have not answered yet
    begun = own_operator.page("/p/main/log")
    assert "have not sent their logs yet" in begun
    assert "every 2s" in begun
    # And shows the log of the one, and names the other, when it is known that it does not answer
    wait_until(lambda: "<b>n&lt;3&gt;</b>" in own_operator.page("/p/main/log"), 60, "the name of the silent machine")
    shown = own_operator.page("/p/main/log")
    assert "checkout-1" in shown
    assert "the master has not taken the command, which is withdrawn" in shown
    assert "every 10s" in shown
    records.delete_one({"_id": "gone:1:a"})


def test_pages_that_are_read_often_ask_other_machines_seldom(
    own_project: TestProject, own_operator: Browser, processes: Processes, tmp_path: Path
) -> None:
    require_namespaces()
    Machine("node2", tmp_path / "node2", own_project, processes).start("--checkout")
    wait_for_roles(own_project, "checkout")
    wait_until(lambda: "checkout-1" in own_operator.page("/p/main/log"), 30, "the log of the other machine")
    orders: list[str] = []
    # When two users read the log again and again
    with closing(own_project.db.jfr_mp_orders.watch([{"$match": {"operationType": "insert"}}])) as changes:
        for _ in range(60):
            assert "checkout-1" in own_operator.page("/p/main/log")
        while (change := changes.try_next()) is not None:
            orders.append(change["documentKey"]["_id"])
    # Then the master is asked no more than once in ten seconds
    assert len(orders) <= 2
