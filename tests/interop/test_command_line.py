"""The peer's command line shows the jobs that we ran, and what it does to them is taken up by us."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from jfr_mp import Runner, submit_flow
from tests.interop.documents import is_at_rest
from tests.interop.flows import FLOWS, add, fails, named, needs_file
from tests.support.peer import Peer
from tests.support.projects import TestProject
from tests.support.waiting import wait_until


def test_it_shows_what_we_ran(project: TestProject, peer: Peer, started: Callable[..., None]) -> None:
    # Given a dynamic flow and a job that fails, run by our processes
    flow = FLOWS["replace"]()
    flow.name = "replaced flow"
    submit_flow(flow)
    submit_flow(named("broken", fails("no such luck")))
    started()
    wait_until(lambda: is_at_rest(project), 60, "the end of all jobs")
    jobs = list(project.db.jobs.find())
    assert len(jobs) == 7

    # When the peer is asked for jobs and flows, then it shows each of them
    rows = [line.split() for line in peer.check("job", "list").splitlines()]
    for job in jobs:
        row = next(row for row in rows if job["db_id"] in row)
        assert {job["state"], "local"} <= set(row)
        assert job["uuid"][:8] in " ".join(row) or job["uuid"] in " ".join(row)
    flows = peer.check("flow", "list")
    assert "replaced flow" in flows
    assert {"COMPLETED", "FAILED"} <= set(flows.split())
    assert "broken" in peer.check("job", "list", "--state", "FAILED")

    # And it shows all that is known of one that failed, and of one that replaced another
    failed = project.db.jobs.find_one({"state": "FAILED"})
    info = peer.check("job", "info", failed["db_id"])
    assert "no such luck" in info
    assert "FAILED" in info
    assert failed["uuid"] in info
    info = peer.check("job", "info", flow.jobs[0].uuid, "2", "-vvv")
    assert "COMPLETED" in info
    assert "run_dir" in info


@pytest.mark.parametrize("by_flow", [False, True])
def test_a_failed_job_that_it_reruns_is_run_by_us(
    by_flow: bool, project: TestProject, peer: Peer, runner: Runner, tmp_path: Path
) -> None:
    # Given a job that failed with us, and its child
    file = tmp_path / "wanted"
    job = named("needy", needs_file(str(file)))
    submit_flow([job, named("child", add(job.output, "!"))])
    runner.run_all_jobs(max_seconds=60)
    failed = project.db.jobs.find_one({"uuid": job.uuid})
    assert failed["state"] == "FAILED"

    # When the cause is gone and the peer reruns it
    file.write_text("here")
    peer.check(
        "job", "rerun", *(["-fid", failed["job"]["hosts"][-1], "-s", "FAILED"] if by_flow else [failed["db_id"]])
    )
    assert project.db.flows.find_one()["state"] in ("READY", "RUNNING")
    runner.run_all_jobs(max_seconds=60)

    # Then we run both
    assert [doc["state"] for doc in project.db.jobs.find()] == ["COMPLETED"] * 2
    assert project.db.flows.find_one()["state"] == "COMPLETED"
    assert project.db.outputs.find_one({"name": "child"})["output"] == "here!"


def test_a_job_in_remote_error_that_it_retries_is_run_by_us(
    project: TestProject, peer: Peer, open_runner: Callable[[str], Runner]
) -> None:
    # Given a job that could not be uploaded by us, because its work_dir is a file
    project.work_dir.rmdir()
    project.work_dir.touch()
    (db_id,) = submit_flow(add(1))
    open_runner(project.name).run_all_jobs(max_seconds=30)
    job = project.db.jobs.find_one()
    assert (job["state"], job["previous_state"]) == ("REMOTE_ERROR", "CHECKED_OUT")
    assert str(project.work_dir) in peer.check("job", "info", db_id)

    # When the cause is gone and the peer retries it
    project.work_dir.unlink()
    project.work_dir.mkdir()
    peer.check("job", "retry", db_id)

    # Then we go on where we were
    assert project.db.jobs.find_one()["state"] == "CHECKED_OUT"
    open_runner(project.name).run_all_jobs(max_seconds=60)
    job = project.db.jobs.find_one()
    assert (job["state"], job["remote"]["error"]) == ("COMPLETED", None)
    assert project.db.flows.find_one()["state"] == "COMPLETED"
