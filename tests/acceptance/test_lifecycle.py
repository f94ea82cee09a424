"""Starting and ending the processes, in one piece, split, in the foreground, and after accidents."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import psutil
import pytest

from jfr_mp.errors import ExitCode
from tests.acceptance.conftest import NewUser
from tests.support.jobs import ledger_lines
from tests.support.processes import JFR_MP, Processes, is_alive, pids_with, wait_gone
from tests.support.user import Doc, User, all_pids
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(300)


def living(user: User) -> list[int]:
    """Return all processes of the user's project, whoever their parent is."""
    return pids_with("JFREMOTE_PROJECTS_FOLDER", user.project.env["JFREMOTE_PROJECTS_FOLDER"])


def run_dir_of(master: Doc) -> Path:
    """Return the directory of a master, which its role processes are told."""
    argv = psutil.Process(master["roles"][0]["pid"]).cmdline()
    return Path(argv[argv.index("--run-dir") + 1])


def run_dirs(beside: Path) -> list[Path]:
    """Return the directories of all masters of the project, of which this is one."""
    return [path for path in beside.parent.iterdir() if path.is_dir()]


def test_what_was_stopped_goes_on_with_the_next_start(user: User, tmp_path: Path) -> None:
    # Given a job that runs, with a child
    gate, ledger = tmp_path / "gate", tmp_path / "ledger"
    assert user.json("status", code=ExitCode.NOT_RUNNING)["masters"] == []
    master = user.start("--num-transfer", "2", "--num-complete", "2")
    assert [role["name"] for role in master["roles"]] == [
        *("checkout-1", "transfer-1", "transfer-2", "queue-1", "complete-1", "complete-2")
    ]
    flow = user.submit("Flow([a, link(a.output)])", setup=f"a = waits_for({str(gate)!r}, 5, {str(ledger)!r})")
    job = flow.wait_for_job("RUNNING")
    wait_until(ledger.exists, 30, "the job's own beginning")
    run_dir = run_dir_of(master)

    # When everything is stopped
    user.ok("stop")

    # Then no process is left but the job, and nothing in the database says otherwise
    wait_gone(all_pids([master]), timeout=1)
    assert is_alive(int(job["remote"]["process_id"]))
    assert run_dirs(run_dir) == []
    assert user.project.db.jfr_mp_processes.count_documents({}) == 0
    assert user.project.db.jf_auxiliary.find_one({"running_runner": {"$exists": True}})["running_runner"] is None
    assert user.project.db.jobs.count_documents({"lock_id": {"$ne": None}}) == 0
    assert user.json("status", code=ExitCode.NOT_RUNNING)["jobs"] == {"WAITING": 1, "RUNNING": 1}
    assert "no master" in user.refused("stop", code=ExitCode.NOT_RUNNING)

    # And when the job ends in the meantime, the next start takes it up
    gate.touch()
    wait_gone([int(job["remote"]["process_id"])])
    user.start()
    assert flow.wait_for("COMPLETED").outputs == [5, 6]
    assert ledger_lines(ledger) == ["5"]


def test_kill_ends_all_at_once_and_restart_renews_all(user: User) -> None:
    # Given a master for some of the roles
    first = user.start("--transfer", "--queue", "--num-transfer", "2")

    # When it is restarted
    user.ok("restart")

    # Then the same roles have new processes
    (second,) = user.masters()
    assert [role["name"] for role in second["roles"]] == ["transfer-1", "transfer-2", "queue-1"]
    assert {role["state"] for role in second["roles"]} == {"RUNNING"}
    assert set(all_pids([first])).isdisjoint(all_pids([second]))
    wait_gone(all_pids([first]), timeout=1)

    # And when it is killed, nothing is left, and a start works at once
    user.ok("kill")
    wait_gone(all_pids([second]), timeout=1)
    assert living(user) == []
    assert "no master" in user.refused("kill", code=ExitCode.NOT_RUNNING)
    assert user.start("--queue")["state"] == "RUNNING"


def test_split_masters_share_the_work(user: User) -> None:
    # Given one master for some roles and another for the rest
    user.start("--checkout", "--transfer")
    user.start("--queue", "--complete")
    assert [[role["role"] for role in master["roles"]] for master in user.masters()] in (
        [["checkout", "transfer"], ["queue", "complete"]],
        [["queue", "complete"], ["checkout", "transfer"]],
    )

    # When a flow is submitted
    flow = user.submit("chain(2)")

    # Then it is completed by both
    assert flow.wait_for("COMPLETED").outputs == [0, 1]

    # And a third for a role that is taken is refused, and says by whom
    message = user.refused("start", "--transfer", code=ExitCode.ALREADY_RUNNING)
    taken_by = next(master["pid"] for master in user.masters() if master["roles"][0]["role"] == "checkout")
    assert f"pid {taken_by}" in message
    assert "transfer" in message
    assert "jfr-mp stop" in message
    assert len(user.masters()) == 2

    # And one stop ends both
    user.ok("stop")
    assert living(user) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_foreground_shows_what_it_does_and_ends_on_a_signal(
    user: User, processes: Processes, number: signal.Signals
) -> None:
    # Given a master in the foreground, which has run a job
    master = processes.start([JFR_MP, "start", "--foreground"], env=user.project.env, cwd=user.desk)
    flow = user.submit("add(1, 1)").wait_for("COMPLETED")
    line = f"complete of job {flow.db_ids[0]}: COMPLETED"
    wait_until(lambda: line in processes.output(master), 10, line)

    # When it gets Ctrl-C, or the signal of a service manager
    master.send_signal(number)

    # Then it ends well, and everything with it
    assert master.wait(timeout=30) == ExitCode.OK, processes.output(master)
    assert living(user) == []
    assert "Traceback" not in processes.output(master)


def test_a_closed_terminal_does_not_end_a_daemon(user: User) -> None:
    master = user.start("--queue")
    os.kill(master["pid"], signal.SIGHUP)
    assert user.submit("add(1, 1)").job()["state"] == "READY"
    assert [found["pid"] for found in user.masters()] == [master["pid"]]


def test_run_does_everything_in_one_process_for_some_ticks(user: User) -> None:
    flow = user.submit("add(1, 2)")
    done = user.types("run", "--ticks", "15")
    assert done.returncode == 0, done.stderr
    assert flow.wait_for("COMPLETED", timeout=1).outputs == [3]
    assert living(user) == []
    assert user.project.db.jfr_mp_processes.count_documents({}) == 0


def test_run_plays_only_the_chosen_roles(user: User) -> None:
    flow = user.submit("add(1, 2)")
    user.ok("run", "--checkout", "--transfer", "--ticks", "3")
    assert flow.states == ["UPLOADED"]


FORMATS = {
    "maggma_json": ({"store": "maggma_json"}, "remote_job_data.json"),
    "orjson": ({"store": "orjson"}, "remote_job_data.json"),
    "msgspec_json": ({"store": "msgspec_json"}, "remote_job_data.json"),
    "msgpack, zipped": ({"store": "msgpack", "zip": True}, "remote_job_data.msgpack.gz"),
    "a serialized store": (
        {"store": {"@module": "jobflow_remote.remote.data", "@class": "MinimalORJSONStore"}, "extension": "dat"},
        "remote_job_data.dat",
    ),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_carries_the_output(new_user: NewUser, processes: Processes, name: str) -> None:
    # Given a project with that format, and a JobStore with an additional store
    remote_jobstore, file = FORMATS[name]
    user = new_user(remote_jobstore=remote_jobstore)
    store, database = user.project.server.store, user.project.db.name
    user.project.rewrite(
        jobstore={"docs_store": store(database, "outputs"), "additional_stores": {"data": store(database, "blobs")}}
    )
    flow = user.submit("Flow([stores_megabytes(0.01), a, link(a.output)])", setup="a = add(1, 1)")

    # When its jobs are run, by one process until Ctrl-C
    runner = processes.start([JFR_MP, "run"], env=user.project.env)
    flow.wait_for("COMPLETED")
    runner.send_signal(signal.SIGINT)

    # Then the output has come through files of that format
    assert runner.wait(timeout=20) == ExitCode.OK, processes.output(runner)
    assert flow.outputs[1:] == [2, 3]
    assert [blob["data"] for blob in user.project.db.blobs.find()] == ["x" * 10_000]
    assert Path(flow.job()["run_dir"], file).exists()


@pytest.mark.parametrize("pid_of", ["nobody", "somebody else"])
def test_what_a_dead_master_left_is_cleaned_up(user: User, pid_of: str) -> None:
    # Given the directory of a master that died with its machine; its pid is free, or another program has it by now
    master = user.start("--queue")
    directory = run_dir_of(master)
    content = json.loads((directory / "master.json").read_text())
    for process in psutil.Process(master["pid"]).children():
        process.kill()
    os.kill(master["pid"], signal.SIGKILL)
    wait_gone(all_pids([master]))
    stale = directory.rename(directory.with_name(str(os.getpid()))) if pid_of == "somebody else" else directory
    content["pid"] = int(stale.name)
    (stale / "master.json").write_text(json.dumps(content))
    assert (stale / "control.sock").is_socket()

    # When somebody looks, stops and starts
    assert user.json("status", code=ExitCode.NOT_RUNNING)["masters"] == []
    user.refused("stop", code=ExitCode.NOT_RUNNING)
    again = user.start("--queue")

    # Then it works at once, and what was left is gone; whoever has the pid was not touched
    assert [path.name for path in run_dirs(directory)] == [str(again["pid"])]
    assert user.project.db.jfr_mp_processes.count_documents({}) == 2


def test_rubbish_in_the_place_of_a_master_is_cleaned_up(user: User) -> None:
    # Given a pid file that was cut off, and sockets that are none
    master = user.start("--queue")
    directory = run_dir_of(master)
    user.ok("stop")
    directory.mkdir()
    (directory / "master.json").write_text('{"pid": ' + str(master["pid"]))
    (directory / "control.sock").write_text("no socket")

    # Then a start works
    assert user.json("status", code=ExitCode.NOT_RUNNING)["masters"] == []
    again = user.start("--queue")
    assert [path.name for path in run_dirs(directory)] == [str(again["pid"])]
