"""What a user sees: status, jobs, flows, projects and logs, as tables and as JSON, and exit codes for scripts."""

from __future__ import annotations

import signal
from datetime import datetime
from subprocess import CompletedProcess

import pytest

from jfr_mp.errors import ExitCode
from tests.support.processes import JFR_MP, Processes, is_alive, run_cli
from tests.support.user import Submitted, User
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(300)

ROLE_FIELDS = {"role", "name", "pid", "state", "uptime_s", "restarts", "rss_bytes", "last_error"}


@pytest.fixture(scope="module")
def done(busy: User) -> Submitted:
    """A flow of two jobs that has been run."""
    return busy.submit("chain(2)").wait_for("COMPLETED")


@pytest.fixture(scope="module")
def failed(busy: User) -> Submitted:
    """A job that has failed."""
    return busy.submit("raises('no such basis set')").wait_for("FAILED")


def test_status_has_exactly_the_documented_shape(busy: User, done: Submitted) -> None:
    status = busy.json("status")

    others = {"max_jobs", "paused_workers", "hosts_away", "transfers", "steps", "machines", "findings"}
    assert set(status) == {"project", "masters", "jobs"} | others
    assert status["project"] == "busy"
    assert status["jobs"]["COMPLETED"] >= 2
    (master,) = status["masters"]
    assert set(master) == {"host", "pid", "state", "roles", "notices"}
    assert master["state"] == "RUNNING"
    assert is_alive(master["pid"])
    assert [role["role"] for role in master["roles"]] == ["checkout", "transfer", "queue", "complete"]
    for role in master["roles"]:
        assert set(role) == ROLE_FIELDS
        assert (role["name"], role["state"]) == (f"{role['role']}-1", "RUNNING")
        assert (role["restarts"], role["last_error"]) == (0, None)
        assert is_alive(role["pid"])
        assert role["uptime_s"] > 0
        assert role["rss_bytes"] > 1_000_000


def test_tables_show_the_same(busy: User, done: Submitted) -> None:
    status, jobs, flows = busy.ok("status"), busy.ok("job", "list", "-v"), busy.ok("flow", "list", "-v")

    assert "transfer-1" in status
    assert "COMPLETED" in status
    assert all(done.job(number)["uuid"] in jobs for number in range(2))
    assert done.flow["uuid"] in flows


def test_jobs_are_listed_and_shown(busy: User, done: Submitted, failed: Submitted) -> None:
    # By flow, by state, one by its id and one by uuid and index
    listed = busy.json("job", "list", "--flow-id", done.db_ids[0])
    assert {job["db_id"] for job in listed} == set(done.db_ids)
    assert {job["state"] for job in listed} == {"COMPLETED"}

    assert failed.db_ids[0] in {job["db_id"] for job in busy.json("job", "list", "-s", "FAILED")}
    assert done.db_ids[0] not in {job["db_id"] for job in busy.json("job", "list", "-s", "F")}

    shown = busy.json("job", "info", failed.db_ids[0])
    assert "RuntimeError: no such basis set" in shown["error"]
    assert datetime.fromisoformat(shown["end_time"]) >= datetime.fromisoformat(shown["start_time"])
    job = done.job(1)
    assert busy.json("job", "info", job["uuid"], "1")["db_id"] == job["db_id"]
    assert "no such basis set" in busy.ok("job", "info", failed.db_ids[0])


def test_flows_are_listed(busy: User, done: Submitted, failed: Submitted) -> None:
    flows = {flow["flow_id"]: flow for flow in busy.json("flow", "list", "-v")}
    assert flows[done.flow["uuid"]]["state"] == "COMPLETED"
    assert flows[done.flow["uuid"]]["name"] == "chain"
    assert flows[failed.flow["uuid"]]["state"] == "FAILED"
    assert {flow["state"] for flow in busy.json("flow", "list", "-s", "FAILED")} == {"FAILED"}


@pytest.mark.parametrize(
    ("argv", "code", "says"),
    [
        (["job", "info", "4711"], ExitCode.ERROR, "no job 4711"),
        (["job", "list", "-s", "SLEEPING"], ExitCode.USAGE, "'SLEEPING' is not one of"),
        (["job", "list", "--days", "1", "--hours", "1"], ExitCode.USAGE, "only one of"),
        (["logs", "juggler"], ExitCode.USAGE, "'juggler' is not one of master, checkout"),
        (["logs", "transfer-9"], ExitCode.ERROR, "no log of transfer-9"),
        (["job", "list", "-pid", "1234"], ExitCode.USAGE, "No such option: -pid."),
        (["job", "list", "--query", '{"state": 1}', "-s", "FAILED"], ExitCode.USAGE, "repeats conditions"),
        (["job", "list", "--query", '{"$what": 1}'], ExitCode.USAGE, "unknown top level operator: $what"),
        (["logs", "-n", "9" * 20], ExitCode.USAGE, "is not between 0"),
        (["start", "--queue", "--num-transfer", "2"], ExitCode.USAGE, "--num-transfer needs --transfer"),
        (["submit", "no_such_file.py"], ExitCode.ERROR, "the file no_such_file.py does not exist"),
        (["submit", "no_such_module:flow"], ExitCode.ERROR, "no module 'no_such_module'"),
        (["submit", "os:path"], ExitCode.ERROR, "not a jobflow Flow or Job"),
        (["db", "start"], ExitCode.CONFIG, "does not manage the database"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_mistakes_get_a_clear_answer(busy: User, argv: list[str], code: ExitCode, says: str) -> None:
    assert says in busy.refused(*argv, code=code)


def test_projects_are_listed_and_checked(busy: User) -> None:
    (row,) = busy.json("project", "list")
    assert row == {"name": "busy", "chosen": True, "file": str(busy.project.project_file), "error": None}

    # One of its workers has a directory that cannot be made
    verdicts = {check["what"]: check for check in busy.json("project", "check", code=ExitCode.CHECK_FAILED)}
    assert verdicts["queue database"]["verdict"] == "ok"
    assert verdicts["worker local: command"]["verdict"] == "ok"
    bad = verdicts["worker readonly: work_dir"]
    assert bad["verdict"] == "failed"
    assert "a file" in bad["detail"]


def test_logs_show_all_processes_or_one(busy: User, done: Submitted) -> None:
    everything, one = busy.ok("logs", "-n", "100000"), busy.ok("logs", "queue", "-n", "100000")

    assert all(f"] {name} " in everything for name in ("master", "checkout-1", "transfer-1", "complete-1"))
    assert f"submit of job {done.db_ids[0]}: SUBMITTED" in one
    # They are one story, in the order of their time
    steps = [
        line.split("] ")[1].split()[0] for line in everything.splitlines() if f" of job {done.db_ids[0]}: " in line
    ]
    assert list(dict.fromkeys(steps)) == ["checkout-1", "transfer-1", "queue-1", "complete-1"]
    # It was started with --log-level debug
    assert "[DEBUG]" in one
    assert len(busy.ok("logs", "queue", "-n", "2").splitlines()) == 2


def test_logs_of_a_job_and_of_a_level(busy: User, done: Submitted, failed: Submitted) -> None:
    # By db_id and by uuid
    of_failed = busy.ok("logs", "--job", failed.db_ids[0], "-n", "1000")
    assert of_failed == busy.ok("logs", "--job", failed.job()["uuid"], "-n", "1000")
    assert f"of job {failed.db_ids[0]}: " in of_failed
    assert not any(f"of job {db_id}: " in of_failed for db_id in done.db_ids)

    # From a level on
    errors = busy.ok("logs", "--job", failed.db_ids[0], "--level", "info", "-n", "1000")
    assert 0 < len(errors.splitlines()) < len(of_failed.splitlines())
    assert "[DEBUG]" not in errors


def test_the_log_level_changes_while_everything_runs(user: User) -> None:
    # Given a master that logs little
    assert "no master" in user.refused("log-level", "debug", code=ExitCode.NOT_RUNNING)
    user.start("--log-level", "error")

    # When it is told to log everything
    assert "logs at level debug" in user.ok("log-level", "debug")

    # Then its role processes do
    flow = user.submit("add(1, 1)").wait_for("COMPLETED")
    line = f"complete of job {flow.db_ids[0]}: COMPLETED"
    wait_until(lambda: line in user.log("complete-1") and "[DEBUG]" in user.log("complete-1"), 20, line)
    user.refused("log-level", "loud", code=ExitCode.USAGE)


def test_the_columns_of_a_list_are_a_setting(busy: User, done: Submitted) -> None:
    argv = ["job", "list", "--flow-id", done.db_ids[0], "--sort", "db_id", "--reverse-sort"]

    def listed(columns: str, *words: str) -> CompletedProcess[str]:
        env = {**busy.project.env, "JFREMOTE_CLI_JOB_LIST_COLUMNS": columns}
        return run_cli(*argv, *words, env=env, cwd=busy.desk)

    # Then the list has the columns in the order of the setting
    lines = listed('["state", "db_id", "worker"]').stdout.splitlines()
    assert [line.split() for line in lines] == [
        ["State", "DB", "id", "Worker"],
        *(["COMPLETED", db_id, "local"] for db_id in done.db_ids),
    ]
    # And -v overrides it, and a column that does not exist is an error
    assert "Last updated" in listed('["state"]', "-v").stdout
    wrong = listed('["state", "colour"]')
    assert wrong.returncode == ExitCode.CONFIG
    assert "colour" in wrong.stderr
    assert "queue_id" in wrong.stderr


def test_the_log_of_a_command_is_a_setting(busy: User, done: Submitted) -> None:
    env = {**busy.project.env, "JFREMOTE_CLI_LOG_LEVEL": "debug"}

    loud = run_cli("job", "info", done.db_ids[0], env=env, cwd=busy.desk)

    # Then it says what it uses, and by default nothing
    assert loud.returncode == 0
    assert f"Debug: project busy of {busy.project.project_file}" in loud.stderr
    assert "Debug: connected to the database at 127.0.0.1:" in loud.stderr
    assert busy.types("job", "info", done.db_ids[0]).stderr == ""


def test_logs_are_followed_until_ctrl_c(busy: User, processes: Processes) -> None:
    # Given somebody who follows a log
    follower = processes.start([JFR_MP, "logs", "complete", "-f"], env=busy.project.env)
    wait_until(lambda: processes.output(follower), 30, "the log")

    # When a job ends
    flow = busy.submit("add(1, 1)").wait_for("COMPLETED")

    # Then that is shown, and Ctrl-C ends the following
    line = f"complete of job {flow.db_ids[0]}: COMPLETED"
    wait_until(lambda: line in processes.output(follower), 10, line)
    follower.send_signal(signal.SIGINT)
    assert follower.wait(timeout=10) == ExitCode.INTERRUPTED
    assert "Traceback" not in processes.output(follower)


def test_help_shows_the_commands_without_a_project(busy: User) -> None:
    text = busy.ok("--help")
    commands = "init start stop kill restart status logs log-level run submit job flow project db"
    assert all(command in text for command in commands.split())
    assert busy.ok("--version").startswith("jfr-mp ")
