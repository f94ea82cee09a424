"""The locks of one package keep the other away."""

from __future__ import annotations

import pytest

from jfr_mp import Runner, submit_flow
from jfr_mp.database.locks import MongoLock
from jfr_mp.identity import new_lock_id, new_owner
from tests.interop.flows import add, chain, named
from tests.support.peer import Peer
from tests.support.projects import TestProject
from tests.support.waiting import wait_until

#: The states out of which a runner takes a job of a local worker, in their order.
STATES = ["READY", "CHECKED_OUT", "UPLOADED", "SUBMITTED", "DOWNLOADED"]

CLAIMED = ["CHECKED_OUT", "UPLOADED", "DOWNLOADED"]


def test_jobs_locked_by_the_peer_wait(project: TestProject, peer: Peer, runner: Runner) -> None:
    # Given a job in each state that a runner takes jobs out of
    for state in reversed(STATES):
        submit_flow(named(state, add(1)))
        _bring(project, runner, state, state)
    before = _steps(project)
    assert [name for name, (state, *_) in before.items() if state != name] == []
    uuids = [job["uuid"] for job in project.db.jobs.find()]

    # When the peer has locked all of them, and our runner looks for work
    with peer.holding("jobs", *uuids):
        runner.checkout()
        runner.advance_state(CLAIMED)
        runner.check_run_status()
        # Then nothing happens to them, and no attempt is spent
        assert _steps(project) == before
        assert project.db.jobs.count_documents({"lock_id": {"$not": {"$regex": "^jfr-mp/"}, "$ne": None}}) == len(
            STATES
        )

    # And once they are unlocked, they go on
    runner.run_all_jobs(max_seconds=60)
    assert {job["state"] for job in project.db.jobs.find()} == {"COMPLETED"}


def test_a_job_of_a_flow_locked_by_the_peer_waits(project: TestProject, peer: Peer, runner: Runner) -> None:
    # Given a job that is to be completed
    flow = chain(2)
    submit_flow(flow)
    _bring(project, runner, "link 1", "DOWNLOADED")

    # When the peer has locked its flow, and our runner tries more often than a job may fail
    with peer.holding("flows", flow.uuid):
        for _ in range(runner.runner_options.max_step_attempts + 1):
            project.db.jobs.update_many({}, {"$set": {"remote.retry_time_limit": None}})
            runner.advance_state(["DOWNLOADED"])
        # Then the job waits, says for whom, and no attempt is spent
        state, attempts, error = _steps(project)["link 1"]
        assert (state, attempts) == ("DOWNLOADED", 0)
        assert f"flow {flow.uuid} is locked by" in error
        # And the flow is as the peer locked it
        assert project.db.flows.find_one()["state"] == "RUNNING"

    # And once the flow is unlocked, all goes on
    runner.run_all_jobs(max_seconds=60)
    assert [job["state"] for job in project.db.jobs.find()] == ["COMPLETED"] * 2
    assert project.db.flows.find_one()["state"] == "COMPLETED"


@pytest.mark.parametrize("action", ["rerun", "stop", "pause"])
def test_the_peer_does_not_touch_a_job_that_we_hold(
    action: str, project: TestProject, peer: Peer, runner: Runner
) -> None:
    # Given a job that a process of ours holds
    (db_id,) = submit_flow(add(1))
    runner.checkout()
    with MongoLock(project.db.jobs, {"db_id": db_id}, lock_id=new_lock_id(new_owner())) as lock:
        before = project.db.jobs.find_one()
        # When a user asks the peer's command line to change it
        force = ["-f"] if action == "rerun" else []
        refused = peer.jf("job", action, *force, db_id, stdin="y\n")
        # Then it refuses, and names the lock
        assert "is locked" in refused.stdout + refused.stderr
        assert lock.lock_id.split("/")[0] in refused.stdout + refused.stderr
        # And the job is as it was
        assert project.db.jobs.find_one() == before


def test_the_peers_runner_leaves_a_job_and_a_flow_that_we_hold(
    project: TestProject, peer: Peer, runner: Runner
) -> None:
    # Given a job that is checked out, and one that is to be completed
    flow = chain(1)
    submit_flow(flow)
    _bring(project, runner, "link 1", "DOWNLOADED")
    submit_flow(named("held", add(1)))
    runner.checkout()
    # When processes of ours hold the first, and the flow of the second, and the peer's runner looks for work
    with (
        MongoLock(project.db.jobs, {"job.name": "held"}, lock_id=new_lock_id(new_owner())),
        MongoLock(project.db.flows, {"uuid": flow.uuid}, lock_id=new_lock_id(new_owner())),
    ):
        peer.tool("advance", "CHECKED_OUT", project.name)
        peer.tool("advance", "DOWNLOADED", project.name)
        # Then neither moves
        assert {name: state for name, (state, *_) in _steps(project).items()} == {
            "held": "CHECKED_OUT",
            "link 1": "DOWNLOADED",
        }
    # And what the peer noted on the second does not keep us from completing it
    project.db.jobs.update_many({}, {"$set": {"remote.retry_time_limit": None}})
    runner.run_all_jobs(max_seconds=60)
    assert {job["state"] for job in project.db.jobs.find()} == {"COMPLETED"}


def _bring(project: TestProject, runner: Runner, name: str, state: str) -> None:
    """Take a job from READY to a state by our runner."""
    if state == "READY":
        return
    only = {"job.name": name}
    runner.checkout()
    for source, target in (("CHECKED_OUT", "UPLOADED"), ("UPLOADED", "SUBMITTED")):
        if STATES.index(state) >= STATES.index(target):
            runner.advance_state([source], only)
    if state == "DOWNLOADED":

        def downloaded() -> bool:
            runner.check_run_status(only)
            return _steps(project)[name][0] == state

        wait_until(downloaded, 60, "the end of a job")


def _steps(project: TestProject) -> dict[str, tuple[str, int, str]]:
    """Return state, attempts and error of each job by its name."""
    return {
        job["job"]["name"]: (job["state"], job["remote"]["step_attempts"], job["remote"]["error"])
        for job in project.db.jobs.find()
    }
