"""The web page in a server of its own: what it shows, and what it does."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from html import unescape
from pathlib import Path
from typing import Any
from uuid import uuid4

from jobflow import Flow

from jfr_mp import submit_flow
from tests.support.gui import Browser
from tests.support.jobs import add, chain
from tests.support.processes import run_cli
from tests.support.projects import ProjectFactory, TestProject
from tests.support.waiting import wait_until

SCRIPT = "<script>alert(1)</script>"
PAGES = ["", "flows", "jobs", "batches", "workers", "log"]


def write(project: TestProject, db_id: str, **fields: Any) -> None:
    assert project.db.jobs.update_one({"db_id": db_id}, {"$set": fields}).modified_count


def copies(project: TestProject, db_id: str, number: int, **fields: Any) -> None:
    """Insert many jobs like another one, all last updated at the same time."""
    document = project.db.jobs.find_one({"db_id": db_id})
    assert document is not None
    del document["_id"]
    now = {"updated_on": datetime.now(UTC), **fields}
    rows = [{**document, "uuid": str(uuid4()), "db_id": str(10_000 + n), **now} for n in range(number)]
    project.db.jobs.insert_many(rows)


def test_all_pages_show_a_fresh_project_and_one_with_jobs(project: TestProject, operator: Browser) -> None:
    for path in PAGES:
        assert "<main" in operator.page(f"/p/main/{path}")
    first, second = submit_flow(chain(2))
    write(project, first, state="FAILED", error="Traceback\nValueError: no convergence")
    flow_id = project.db.flows.distinct("uuid")[0]
    shown = {path: operator.page(f"/p/main/{path}") for path in [*PAGES, f"flows/{flow_id}", f"jobs/{second}"]}
    assert "ValueError: no convergence" in shown[""]
    assert "ValueError: no convergence" in shown["jobs"]
    assert 'aria-label="link: FAILED"' in shown[f"flows/{flow_id}"]
    # A job that waits is explained by the one that failed
    assert f"job {first}" in shown[f"jobs/{second}"]
    operator.page("/p/main/jobs/999", 404)
    operator.page("/p/main/flows/999", 404)
    operator.page("/p/other/", 404)
    operator.page("/p/main/jobs?states=BAD", 400)
    operator.page("/p/main/jobs?after=x", 400)


def test_the_flow_of_a_job_is_the_one_that_lists_it(project: TestProject, operator: Browser) -> None:
    # Given a flow with an inner flow, to which the user has added another host
    flow, added = Flow([chain(2)]), str(uuid4())
    flow.add_hosts_uuids([added])
    first, _ = submit_flow(flow)
    # Then the page of a job links to it, and the list of flows counts its jobs
    assert f'href="/p/main/flows/{flow.uuid}"' in operator.page(f"/p/main/jobs/{first}")
    assert added not in operator.page(f"/p/main/jobs/{first}")
    shown = operator.page("/p/main/flows")
    assert "1 READY" in shown
    assert "1 WAITING" in shown


def test_text_of_jobs_is_never_html(project: TestProject, operator: Browser, tmp_path: Path) -> None:
    # Given a job whose name, error, worker, directory and output are script tags
    evil = add(1)
    evil.name = SCRIPT
    (db_id,) = submit_flow(Flow([evil], name=SCRIPT))
    run_dir = tmp_path / "a<b>"
    run_dir.mkdir()
    (run_dir / f"{SCRIPT.replace('/', '')}.txt").write_text("x")
    (run_dir / "queue.out").write_text(SCRIPT)
    remote = {"remote.error": SCRIPT, "remote.queue_state": SCRIPT}
    write(project, db_id, state="FAILED", error=SCRIPT, run_dir=str(run_dir), lock_id=SCRIPT, **remote)
    uuid = project.db.jobs.distinct("uuid")[0]
    project.db.outputs.insert_one({"uuid": uuid, "index": 1, "output": {SCRIPT: SCRIPT}, "metadata": {}})
    flow_id = project.db.flows.distinct("uuid")[0]
    pages = [
        *PAGES,
        f"flows/{flow_id}",
        f"jobs/{db_id}",
        f"jobs?name={SCRIPT}",
        f"jobs/act?action=rerun&db_ids={db_id}",
    ]
    pages += [f"jobs/{db_id}/{part}" for part in ("inputs", "output", "queue", "files")]
    # Then no page contains it, and the pages that show it have it escaped
    shown = {path: operator.page(f"/p/main/{path}") for path in pages}
    for path, text in shown.items():
        assert "<script>" not in text, path
        assert not re.search(r"\son\w+=|javascript:|\sstyle=", text), path
    for part in ("output", "queue"):
        assert SCRIPT in unescape(shown[f"jobs/{db_id}/{part}"])
    assert "&lt;script&gt;" in operator.page("/p/main/jobs/%3Cscript%3E", 404)


def test_jobs_are_filtered_by_the_url_as_by_the_command_line(project: TestProject, operator: Browser) -> None:
    first, second, third = submit_flow(chain(3))
    write(project, second, state="PAUSED", worker="other")

    def ids(query: str) -> list[str]:
        return re.findall(r'id="job-(\w+)"', operator.page(f"/p/main/jobs?{query}"))

    assert ids("states=PAUSED") == [second]
    assert ids("states=p&states=R") == [second, first] or ids("states=p&states=R") == [first, second]
    assert ids("workers=other") == [second]
    assert ids(f"db_ids={third}&hours=1") == [third]
    assert sorted(ids(f"flow_ids={first}")) == sorted([first, second, third])
    assert ids("name=nothing*") == []
    assert ids("metadata=a=1") == []
    # A query of MongoDB's language is not taken
    assert len(ids('query={"$where":"sleep(1000)"}')) == 3


def test_pages_of_a_list_miss_nothing(project: TestProject, operator: Browser) -> None:
    # Given 350 jobs, most of the same time
    (db_id,) = submit_flow(add(1))
    copies(project, db_id, 349)
    path, found = "/p/main/jobs", []
    while path:
        text = operator.page(path)
        found += re.findall(r'id="job-(\w+)"', text)
        more = re.search(r'rel="next" href="([^"]+)"', text)
        path = unescape(more[1]) if more else ""
    assert len(found) == len(set(found)) == 350
    # The number is cached for a moment
    wait_until(lambda: "<b>350</b> jobs" in operator.page("/p/main/jobs"), 10, "the number of all jobs")


def test_a_failed_job_is_rerun_after_a_preview(project: TestProject, operator: Browser) -> None:
    first, second = submit_flow(chain(2))
    write(project, first, state="FAILED", error="no")
    preview = operator.page(f"/p/main/jobs/act?action=rerun&flow_ids={first}&states=FAILED")
    assert "Rerun 1 job?" in preview
    # Without the token of the page nothing happens
    assert operator.post("/p/main/jobs/act", data={"action": "rerun", "db_ids": first}).status_code == 403
    assert project.db.jobs.distinct("state", {"db_id": first}) == ["FAILED"]
    # When it is confirmed, with a job that refuses and one that does not exist
    done = operator.submit("/p/main/jobs/act", action="rerun", db_ids=[first, second, "999"])
    # Then the first one is READY again, and all of it is in the audit log
    assert project.db.jobs.distinct("state", {"db_id": first}) == ["READY"]
    assert "1 of 3 done" in done
    audit = [json.loads(line) for line in (project.base_dir / "gui" / "audit.jsonl").read_text().splitlines()]
    assert audit[-1]["action"] == "job rerun"
    assert audit[-1]["user"] == audit[0]["user"] != ""
    assert [job["after"] for job in audit[-1]["jobs"]] == ["READY", "WAITING", None]
    # Nothing is done to all jobs by an empty filter
    operator.page("/p/main/jobs/act?action=delete", 400)
    operator.page("/p/main/jobs/act?action=explode&db_ids=1", 400)


def test_a_flow_is_deleted(project: TestProject, operator: Browser) -> None:
    submit_flow(chain(2))
    (flow_id,) = project.db.flows.distinct("uuid")
    assert "for good" in operator.page(f"/p/main/flows/act?action=delete&flow_ids={flow_id}")
    operator.submit("/p/main/flows/act", action="delete", flow_ids=flow_id)
    assert project.db.jobs.count_documents({}) == 0


def test_an_open_page_hears_of_changes(project: TestProject, operator: Browser) -> None:
    first, second = submit_flow(chain(2))
    with operator.stream("GET", f"/p/main/live?job={second}") as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        assert "event: hello" in [next(lines), next(lines)]
        # A change of another job is no news of this page
        write(project, first, state="RUNNING")
        write(project, second, state="PAUSED")
        assert "event: change" in [next(lines) for _ in range(3)]
    assert "PAUSED" in operator.page(f"/p/main/jobs/{second}")


def test_files_of_a_job_are_downloaded_and_nothing_else(
    project: TestProject, operator: Browser, temporary: Path, tmp_path: Path
) -> None:
    (db_id,) = submit_flow(add(1))
    operator.page(f"/p/main/jobs/{db_id}/files", 404)
    run_dir = tmp_path / "run"
    (run_dir / "sub").mkdir(parents=True)
    (run_dir / "sub" / "OUTCAR").write_bytes(b"\x00energy")
    (run_dir / "queue.err").write_text("x" * 100_000 + "the end")
    (run_dir / "link").symlink_to("/etc/passwd")
    (tmp_path / "secret").write_text("secret")
    write(project, db_id, run_dir=str(run_dir))
    assert "sub/OUTCAR" in operator.page(f"/p/main/jobs/{db_id}/files")
    got = operator.get(f"/p/main/jobs/{db_id}/download?name=sub/OUTCAR")
    assert got.content == b"\x00energy"
    assert got.headers["content-disposition"].startswith("attachment")
    assert got.headers["content-type"] == "application/octet-stream"
    for name in ("../secret", "link", "/etc/passwd", "sub/../../secret", "%2e%2e/secret", "", "sub"):
        operator.page(f"/p/main/jobs/{db_id}/download?name={name}", 404)
    # Only the end of a large text is shown
    text = operator.page(f"/p/main/jobs/{db_id}/queue")
    assert "the end" in text
    assert len(text) < 80_000
    assert not list(temporary.glob("jfr-mp-gui-*"))


def test_another_project_is_shown_without_a_restart(fresh_project: ProjectFactory, own_operator: Browser) -> None:
    fresh_project("second")
    submit_flow(add(1), project="second")
    assert 'href="/p/second/"' in own_operator.page("/p/main/")
    assert "<b>1</b> job," in own_operator.page("/p/second/jobs")


def test_a_master_is_paused_and_resumed(own_project: TestProject, own_operator: Browser) -> None:
    assert run_cli("start", env=own_project.env).returncode == 0
    text = own_operator.page("/p/main/workers")
    machine = unescape(re.findall(r'name="machine" value="([^"]+)"', text)[0])
    assert "Stop its role processes" in own_operator.page(
        f"/p/main/workers/act?action=pause&machine={machine}&host=here"
    )
    assert "1 of 1 done" in own_operator.submit("/p/main/workers/act", action="pause", machine=machine)
    assert "1 of 1 done" in own_operator.submit("/p/main/workers/act", action="resume", machine=machine)
    own_operator.submit("/p/main/workers/act", 409, action="pause", machine="nowhere")
    assert "master pause" in (own_project.base_dir / "gui" / "audit.jsonl").read_text()
    assert "master" in own_operator.page("/p/main/log?level=debug")
