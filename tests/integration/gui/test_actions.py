"""The actions of the web page: previewed, confirmed, done by the functions of the command line, and written down."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from jfr_mp import submit_flow
from tests.support.gui import Browser, GuiServer
from tests.support.jobs import chain
from tests.support.processes import run_cli
from tests.support.projects import TestProject

_PASSWORD = "correct horse battery"


@pytest.fixture(scope="module")
def reader(shared_project: TestProject, server: GuiServer) -> Iterator[Browser]:
    """A user who may only read."""
    arguments = ("gui", "users", "add", "anna", "--role", "read")
    assert run_cli(*arguments, env=shared_project.env, stdin=f"{_PASSWORD}\n").returncode == 0
    with server.browser() as browser:
        browser.submit("/login", 303, name="anna", password=_PASSWORD)
        yield browser


@pytest.fixture
def db_ids(project: TestProject) -> list[str]:
    """A flow of four jobs: FAILED, REMOTE_ERROR, RUNNING, and WAITING; the third one is locked."""
    db_ids = submit_flow(chain(4))
    write(project, db_ids[0], state="FAILED", error="no")
    write(project, db_ids[1], state="REMOTE_ERROR", previous_state="RUN_FINISHED")
    write(project, db_ids[2], state="RUNNING", resources={"nodes": 1, "time": 60}, lock_id="old")
    return db_ids


def write(project: TestProject, db_id: str, **fields: Any) -> None:
    assert project.db.jobs.update_one({"db_id": db_id}, {"$set": fields}).modified_count


def job(project: TestProject, db_id: str) -> dict[str, Any]:
    found = project.db.jobs.find_one({"db_id": db_id})
    assert found is not None
    return found


def states(project: TestProject) -> list[str]:
    return [each["state"] for each in project.db.jobs.find(sort=[("db_id", 1)])]


def audit(project: TestProject) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (project.base_dir / "gui" / "audit.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("action", "value", "written", "before", "after"),
    [
        ("priority", "-5", -5, 0, -5),
        ("worker", "other", "other", "local", "other"),
        ("resources", "time=120,nodes=2", {"time": 120, "nodes": 2}, {"time": 60}, {"time": 120, "nodes": 2}),
        ("resources", '{"nodes": 3}', {"nodes": 3}, {"time": 60}, {"time": 60, "nodes": 3}),
    ],
)
def test_properties_are_set(
    *, action: str, value: str, written: Any, before: Any, after: Any, project: TestProject, operator: Browser
) -> None:
    # Given a job
    (db_id,) = submit_flow(chain(1))
    write(project, db_id, state="PAUSED", resources={"time": 60})
    assert job(project, db_id)[action] == before

    # When its page offers the action, and the preview asks for the value
    assert f'name="action" value="{action}"' in operator.page(f"/p/main/jobs/{db_id}")
    preview = operator.page(f"/p/main/jobs/act?action={action}&db_ids={db_id}")
    assert f"Set {action} 1 job?" in preview
    assert 'name="value"' in preview
    assert job(project, db_id)[action] == before

    # Then it is set after the confirmation, and the audit log has the value
    assert "1 of 1 done" in operator.submit("/p/main/jobs/act", action=action, db_ids=db_id, value=value)
    assert job(project, db_id)[action] == after
    assert audit(project)[-1]["action"] == f"job {action}"
    expected = {"resources": written, "update": True} if action == "resources" else written
    assert audit(project)[-1]["value"] == expected
    assert audit(project)[-1]["jobs"][0]["error"] is None


def test_resources_are_replaced_if_wanted(project: TestProject, operator: Browser) -> None:
    (db_id,) = submit_flow(chain(1))
    write(project, db_id, resources={"time": 60})
    operator.page(f"/p/main/jobs/act?action=resources&db_ids={db_id}")
    operator.submit("/p/main/jobs/act", action="resources", db_ids=db_id, value="nodes=2", replace="1")
    assert job(project, db_id)["resources"] == {"nodes": 2}


@pytest.mark.parametrize(
    ("action", "value", "says"),
    [
        ("priority", "high", "priority: "),
        ("priority", "9" * 30, "priority: "),
        ("worker", "<b>gone</b>", "no worker &#39;&lt;b&gt;gone"),
        ("resources", "nodes", "resources: "),
        ("resources", '["nodes"]', "resources: "),
        ("resources", '{"nodes": ', "resources: "),
        ("priority", None, "no field value"),
    ],
)
def test_impossible_values_change_nothing(
    action: str, value: str | None, says: str, project: TestProject, operator: Browser
) -> None:
    (db_id,) = submit_flow(chain(1))
    before = job(project, db_id)
    operator.page(f"/p/main/jobs/act?action={action}&db_ids={db_id}")
    given = {} if value is None else {"value": value}
    assert says in operator.submit("/p/main/jobs/act", 400, action=action, db_ids=db_id, **given)
    assert job(project, db_id) == before


def test_a_job_on_its_way_refuses_another_worker(project: TestProject, operator: Browser, db_ids: list[str]) -> None:
    write(project, db_ids[2], lock_id=None)
    operator.page(f"/p/main/jobs/act?action=worker&db_ids={db_ids[0]}")
    done = operator.submit("/p/main/jobs/act", action="worker", db_ids=[db_ids[0], db_ids[2]], value="other")
    assert "1 of 2 done" in done
    assert [job(project, each)["worker"] for each in db_ids] == ["other", "local", "local", "local"]
    assert audit(project)[-1]["jobs"][1]["error"]


def test_locks_are_broken(project: TestProject, operator: Browser, db_ids: list[str]) -> None:
    # Given a locked job, a job that is not locked, and a locked flow
    (flow_id,) = project.db.flows.distinct("uuid")
    project.db.flows.update_one({"uuid": flow_id}, {"$set": {"lock_id": "old"}})
    locked, free = (f"/p/main/jobs/{db_ids[number]}" for number in (2, 3))
    assert 'value="unlock"' in operator.page(locked)
    assert 'value="unlock"' not in operator.page(free)

    # When both jobs are unlocked, then one is named as not locked
    assert "loses its work" in operator.page(f"/p/main/jobs/act?action=unlock&db_ids={db_ids[2]}")
    done = operator.submit("/p/main/jobs/act", action="unlock", db_ids=[db_ids[2], db_ids[3]])
    assert "1 of 2 done" in done
    assert f"job {db_ids[3]} is not locked" in done
    assert job(project, db_ids[2])["lock_id"] is None

    # And the flow, once
    assert "loses its work" in operator.page(f"/p/main/flows/act?action=unlock&flow_ids={flow_id}")
    assert "1 of 1 done" in operator.submit("/p/main/flows/act", action="unlock", flow_ids=flow_id)
    assert project.db.flows.distinct("lock_id") == [None]
    assert "is not locked" in operator.submit("/p/main/flows/act", action="unlock", flow_ids=flow_id)
    assert [line["action"] for line in audit(project)[-3:]] == ["job unlock", "flow unlock", "flow unlock"]


@pytest.mark.parametrize(
    ("action", "title", "chosen", "expected"),
    [
        ("rerun", "Rerun 1 job?", 0, ["READY", "REMOTE_ERROR", "RUNNING", "WAITING"]),
        ("retry", "Retry 1 job?", 1, ["FAILED", "RUN_FINISHED", "RUNNING", "WAITING"]),
        ("pause", "Pause 1 job?", 3, ["FAILED", "REMOTE_ERROR", "RUNNING", "PAUSED"]),
        ("stop", "Stop 1 job?", 2, ["FAILED", "REMOTE_ERROR", "USER_STOPPED", "WAITING"]),
    ],
)
def test_the_jobs_of_flows_are_acted_on(
    *,
    action: str,
    title: str,
    chosen: int,
    expected: list[str],
    project: TestProject,
    operator: Browser,
    db_ids: list[str],
) -> None:
    # Given flows whose pages offer the action
    write(project, db_ids[2], lock_id=None)
    project.db.jobs.update_many({"db_id": {"$in": db_ids[:2]}}, {"$set": {"parents": []}})
    (flow_id,) = project.db.flows.distinct("uuid")
    assert f'name="action" value="{action}"' in operator.page(f"/p/main/flows/{flow_id}")
    assert f'name="action" value="{action}"' in operator.page("/p/main/flows")

    # When it is previewed, then only the jobs are listed that it changes
    preview = operator.page(f"/p/main/flows/act?action={action}&flow_ids={flow_id}")
    assert title in preview
    assert f'name="db_ids" value="{db_ids[chosen]}"' in preview
    assert 'action="/p/main/jobs/act"' in preview
    assert states(project) == ["FAILED", "REMOTE_ERROR", "RUNNING", "WAITING"]

    # And they are changed when it is confirmed
    assert "1 of 1 done" in operator.submit("/p/main/jobs/act", action=action, db_ids=db_ids[chosen])
    assert states(project) == expected
    assert audit(project)[-1]["jobs"][0]["db_id"] == db_ids[chosen]


def test_flows_without_such_jobs_say_so(project: TestProject, operator: Browser) -> None:
    submit_flow(chain(1))
    (flow_id,) = project.db.flows.distinct("uuid")
    assert "none is FAILED" in operator.page(f"/p/main/flows/act?action=rerun&flow_ids={flow_id}", 404)
    operator.page("/p/main/flows/act?action=rerun", 400)
    for action in ("rerun", "unlock"):
        operator.page(f"/p/main/flows/act?action={action}&flow_ids=none", 404)
    operator.page(f"/p/main/flows/act?action=explode&flow_ids={flow_id}", 400)
    # The jobs are named one by one in the form: a flow alone is not enough
    operator.page(f"/p/main/flows/act?action=delete&flow_ids={flow_id}")
    operator.submit("/p/main/flows/act", 400, action="rerun", flow_ids=flow_id)


@pytest.mark.parametrize("action", ["priority", "worker", "resources", "unlock", "rerun", "retry", "pause", "stop"])
def test_a_reader_and_another_site_are_refused(
    action: str, project: TestProject, operator: Browser, reader: Browser, db_ids: list[str]
) -> None:
    # Given a user who may read, and a form of another site
    known = len(audit(project))
    (flow_id,) = project.db.flows.distinct("uuid")
    before = list(project.db.jobs.find(sort=[("db_id", 1)]))
    form = {"action": action, "db_ids": db_ids[0], "value": "other"}

    # Then neither of them gets a preview or changes a job
    assert 'name="action"' not in reader.page(f"/p/main/jobs/{db_ids[0]}")
    assert 'name="action"' not in reader.page(f"/p/main/flows/{flow_id}")
    reader.page(f"/p/main/jobs/act?action={action}&db_ids={db_ids[0]}", 403)
    reader.page(f"/p/main/flows/act?action={action}&flow_ids={flow_id}", 403)
    reader.submit("/p/main/jobs/act", 403, **form)
    assert operator.post("/p/main/jobs/act", data=form).status_code == 403
    operator.page(f"/p/main/jobs/act?action=delete&db_ids={db_ids[0]}")
    signed = {**form, "csrf": operator.csrf}
    assert operator.post("/p/main/jobs/act", data=signed, headers={"Origin": "https://evil.example"}).status_code == 403
    assert list(project.db.jobs.find(sort=[("db_id", 1)])) == before
    assert [line["action"] for line in audit(project)[known:]].count("refused") >= 3
