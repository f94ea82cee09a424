"""What a user asks of one job: why it is where it is, what it said, its files, and that it stops."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from jfr_mp.api.controller import JobController
from jfr_mp.errors import ExitCode
from jfr_mp.states import JobState
from tests.acceptance.conftest import NewUser
from tests.support.processes import is_alive
from tests.support.sshd import Sshd
from tests.support.user import Doc, Submitted, User
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def failed(busy: User) -> Submitted:
    """A job that has failed."""
    return busy.submit("raises('no such basis set')").wait_for("FAILED")


def whys(explanation: Doc) -> str:
    return "; ".join(reason["why"] for reason in explanation["reasons"])


def cures(explanation: Doc) -> str:
    return "; ".join(reason["cure"] for reason in explanation["reasons"])


# Files


def test_the_files_of_a_job(busy: User, failed: Submitted, tmp_path: Path) -> None:
    job = failed.job()
    run_dir, db_id = Path(job["run_dir"]), job["db_id"]
    (run_dir / "results").mkdir()
    (run_dir / "results" / "it's 1.txt").write_text("one\n")

    # By db_id and by uuid
    files = {file["name"]: file["size"] for file in busy.json("job", "files", "ls", job["uuid"], "1")}
    assert {"jfremote_in.json", "jfremote_out.json", "queue.out", "queue.err", "submit.sh"} <= set(files)
    assert files["results/it's 1.txt"] == 4
    assert "results/it's 1.txt" in busy.ok("job", "files", "ls", db_id)

    # Some of them, and all of them
    busy.ok("job", "files", "get", db_id, "results/it's 1.txt", "submit.sh", "--path", str(tmp_path / "some"))
    assert (tmp_path / "some" / "results" / "it's 1.txt").read_text() == "one\n"
    assert len(list((tmp_path / "some").iterdir())) == 2
    got = busy.json("job", "files", "get", db_id, "--path", str(tmp_path / "all"))
    assert len(got) == len(files)
    assert all(Path(path).exists() for path in got)

    # One that is not there
    assert f"{run_dir} has no OUTCAR" in busy.refused("job", "files", "get", db_id, "OUTCAR", code=ExitCode.ERROR)
    assert not (busy.desk / "OUTCAR").exists()


def test_what_a_job_printed(busy: User) -> None:
    # Given a job whose script prints
    flow = busy.submit("raises('no such basis set')", "--exec-config", "greeting").wait_for("FAILED")
    (db_id,), run_dir = flow.db_ids, flow.job()["run_dir"]
    Path(run_dir, "queue.err").write_text("out of memory\n")

    assert f"{run_dir}/queue.err\nout of memory" in busy.ok("job", "queue-out", db_id)
    assert busy.json("job", "queue-out", db_id)["queue_err"] == "out of memory\n"

    # When its directory is gone, then what was kept is shown
    kept = {"remote.queue_out": "kept text", "remote.queue_err": None}
    busy.project.db.jobs.update_one({"db_id": db_id}, {"$set": kept})
    shutil.rmtree(run_dir)
    assert busy.json("job", "queue-out", db_id) == {"queue_out": "kept text", "queue_err": None}
    # And its files cannot be listed
    assert run_dir in busy.refused("job", "files", "ls", db_id, code=ExitCode.ERROR)


# Cancelling


@pytest.mark.parametrize("command", ["cancel", "stop"])
def test_a_running_job_is_cancelled(busy: User, gate: Path, command: str) -> None:
    # Given a job that runs, and one that waits for it
    flow = busy.submit("Flow([a, add(a.output)])", setup=f"a = waits_for({str(gate)!r})")
    job = flow.wait_for_job("RUNNING")
    pid = int(job["remote"]["process_id"])
    assert is_alive(pid)

    # When the first is cancelled
    said = busy.ok("job", command, flow.db_ids[0])

    # Then it is over, and the other waits until it is resumed
    assert "RUNNING -> USER_STOPPED" in said
    wait_until(lambda: not is_alive(pid), 10, "the end of its process")
    assert flow.states == ["USER_STOPPED", "WAITING"]
    assert flow.flow["state"] == "STOPPED"
    assert (flow.job()["lock_id"], flow.flow["lock_id"]) == (None, None)
    child = busy.json("job", "explain", flow.db_ids[1])
    assert f"waits for job {flow.db_ids[0]} (waits_for), which is USER_STOPPED" in whys(child)
    assert f"`jfr-mp job resume {flow.db_ids[0]}`" in cures(child)

    # And once more is a mistake
    assert "is USER_STOPPED and cannot be" in busy.refused("job", command, flow.db_ids[0], code=ExitCode.ERROR)


def test_the_controller_stops_jobs(user: User, caplog: pytest.LogCaptureFixture) -> None:
    # Given a job that was submitted to a scheduler that cannot cancel it
    (db_id,) = user.submit("add(1)").db_ids
    submitted = {"state": "SUBMITTED", "remote.process_id": "no number"}
    user.project.db.jobs.update_one({"db_id": db_id}, {"$set": submitted})
    controller = JobController.from_project_name(user.project.name)
    try:
        # When it is stopped, then it is, and what is left is told
        assert controller.stop_job(db_id=db_id) == db_id
        job = controller.get_job_info(db_id=db_id)
        assert job is not None
        assert job.state is JobState.USER_STOPPED
        assert "may still be running on worker local" in caplog.text
        with pytest.raises(ValueError, match="no job 4711"):
            controller.stop_job(db_id="4711")
    finally:
        controller.close()


def test_a_job_that_is_locked_is_not_cancelled(user: User) -> None:
    # Given a job that a tool of jobflow-remote holds
    (db_id,) = user.submit("add(1)").db_ids
    jobs = user.project.db.jobs
    jobs.update_one({"db_id": db_id}, {"$set": {"lock_id": "0b0cdf24"}})

    refusal = user.refused("job", "cancel", db_id, "--wait", "0", code=ExitCode.ERROR)

    assert f"job {db_id} is locked by 0b0cdf24" in refusal
    assert (jobs.find_one() or {})["state"] == "READY"
    assert "--break-locks" in cures(user.json("job", "explain", db_id))


# Explaining


def test_jobs_are_explained_while_nothing_runs(user: User) -> None:
    first, second = user.submit("chain(2)").db_ids

    assert "no master is running on any machine" in whys(user.json("job", "explain", first))
    assert "`jfr-mp start`" in user.ok("job", "explain", first)
    assert f"waits for job {first} (link), which is READY" in whys(user.json("job", "explain", second))


def test_jobs_are_explained_while_a_master_runs(busy: User, failed: Submitted, gate: Path) -> None:
    flow = busy.submit(f"waits_for({str(gate)!r})")
    process_id = flow.wait_for_job("RUNNING")["remote"]["process_id"]

    explanation = busy.json("job", "explain", flow.db_ids[0])

    assert (explanation["state"], explanation["worker"]) == ("RUNNING", "local")
    assert f"the scheduler says of {process_id}: " in whys(explanation)
    assert set(explanation["facts"]["roles"]) == {"checkout", "transfer", "queue", "complete"}
    assert "RuntimeError: no such basis set" in whys(busy.json("job", "explain", failed.db_ids[0]))


# On another machine


def test_a_job_over_ssh(new_user: NewUser, cluster: Sshd, tmp_path: Path, gate: Path) -> None:
    # Given a worker that is reached by SSH, and one beside it that nobody can reach
    far = cluster.worker(tmp_path / "it's far")
    user = new_user(workers={"far": far, "unreachable": {**far, "port": 1}})

    # Then both are checked, the one to its Python
    found = {check["what"]: check for check in user.json("project", "check", code=ExitCode.CHECK_FAILED)}
    assert {what for what, check in found.items() if check["verdict"] == "failed"} == {"worker unreachable: connection"}
    assert "jfr-mp " in found["worker far: command"]["detail"]
    assert list((tmp_path / "it's far").iterdir()) == []

    # And a job there has its files, its explanation and its end
    user.start()
    flow = user.submit(f"waits_for({str(gate)!r})", "--worker", "far")
    pid = int(flow.wait_for_job("RUNNING")["remote"]["process_id"])
    (db_id,) = flow.db_ids
    assert "the scheduler says" in whys(user.json("job", "explain", db_id))
    assert "submit.sh" in user.ok("job", "files", "ls", db_id)
    user.ok("job", "files", "get", db_id, "submit.sh")
    assert "waits_for" in (user.desk / "submit.sh").read_text()
    assert flow.job()["run_dir"] in user.ok("job", "queue-out", db_id)
    user.ok("job", "cancel", db_id)
    wait_until(lambda: not is_alive(pid), 10, "the end of its process")
    assert flow.states == ["USER_STOPPED"]
