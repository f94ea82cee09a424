"""The peer's command line shows the jobs that we ran, and what it does to them is taken up by us."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from jfr_mp import Runner, submit_flow
from tests.interop.documents import is_at_rest
from tests.interop.flows import FLOWS, add, fails, named, needs_file, waits_for_file
from tests.support.peer import Peer
from tests.support.processes import JFR_MP, end, run
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
    rows = [[" ".join(cell.split()) for cell in line.split("│")] for line in peer.check("job", "list").splitlines()]
    shown = {row[1]: row[2:6] for row in rows if len(row) > 6}
    assert shown == {
        job["db_id"]: [job["job"]["name"], job["state"], f"{job['uuid']} ({job['index']})", "local"] for job in jobs
    }
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


def test_both_read_the_setting_of_the_columns(project: TestProject, peer: Peer) -> None:
    # Given two jobs, and a user who has chosen columns
    db_ids = submit_flow([named("first", add(1, 1)), named("second", add(1, 1))])
    names = ["worker", "state", "db_id", "name", "queue_id", "prev_state", "locked"]
    columns = {"JFREMOTE_CLI_JOB_LIST_COLUMNS": json.dumps(names)}
    argv = ["job", "list", "--sort", "db_id", "--reverse-sort"]

    # When both list the jobs
    theirs = run(peer.command(*argv), env={**peer.env, **columns}).stdout
    ours = run([JFR_MP, *argv], env={**project.env, **columns}).stdout

    # Then both show the same: the titles, and the cells that are not empty
    lines = [re.split("[│┃]", line)[1:-1] for line in theirs.splitlines() if "│" in line or "┃" in line]
    assert [[cell.strip() for cell in line if cell.strip()] for line in lines] == [
        re.split(r"\s{2,}", line.strip()) for line in ours.splitlines()
    ]
    assert [line.split()[2] for line in ours.splitlines()[1:]] == db_ids

    # And both refuse a column that does not exist
    columns = {"JFREMOTE_CLI_JOB_LIST_COLUMNS": '["db_id", "colour"]'}
    for refused in (
        run([*peer.command(*argv)], env={**peer.env, **columns}),
        run([JFR_MP, *argv], env={**project.env, **columns}),
    ):
        assert refused.returncode != 0
        assert "colour" in refused.stdout + refused.stderr


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


def test_a_running_job_that_it_reruns_is_run_anew_by_us(
    project: TestProject, peer: Peer, runner: Runner, tmp_path: Path
) -> None:
    # Given a job that runs with us
    file, ledger = tmp_path / "wanted", tmp_path / "ledger"
    (db_id,) = submit_flow(waits_for_file(str(file), str(ledger)))
    runner.checkout()
    runner.advance_state(["CHECKED_OUT", "UPLOADED"])
    wait_until(ledger.exists, 30, "the start of the job")
    submitted = project.db.jobs.find_one()
    assert submitted["state"] == "SUBMITTED"

    # When the peer reruns it, and we go on
    peer.check("job", "rerun", db_id)
    # (It means to end the process, and does not find its id; so the end comes from here.)
    end(int(submitted["remote"]["process_id"]))
    runner.checkout()
    runner.advance_state(["CHECKED_OUT", "UPLOADED"])
    wait_until(lambda: len(ledger.read_text().splitlines()) == 2, 30, "the second start of the job")
    # Then what we knew of the first run is not taken for news of the second
    runner.check_run_status()
    assert project.db.jobs.find_one()["state"] == "RUNNING"
    file.write_text("here")
    runner.run_all_jobs(max_seconds=60)
    assert project.db.jobs.find_one()["state"] == "COMPLETED"
    assert project.db.outputs.find_one()["output"] == "here"


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
