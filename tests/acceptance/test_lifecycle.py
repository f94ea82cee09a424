"""Starting and stopping the processes: one master, several, in the foreground, and after crashes."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import psutil
import pytest

from jfr_mp.bus.paths import runtime_path
from jfr_mp.errors import ExitCode
from tests.acceptance.conftest import NewUser
from tests.support.jobs import ledger_lines
from tests.support.processes import JFR_MP, Processes, is_alive, pids_with, wait_gone
from tests.support.user import Doc, User, all_pids
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(300)


def living(user: User) -> list[int]:
    """Return all processes of the user's project, whatever their parent is."""
    return pids_with("JFREMOTE_PROJECTS_FOLDER", user.project.env["JFREMOTE_PROJECTS_FOLDER"])


def run_dir_of(user: User, master: Doc) -> Path:
    """Return the directory of a master."""
    return runtime_path(user.project.base_dir / "daemon") / str(master["pid"])


def run_dirs(beside: Path) -> list[Path]:
    """Return the directories of all masters of the project; `beside` is one of them."""
    return [path for path in beside.parent.iterdir() if path.name.isdigit()]


def test_deleted_sockets_are_made_again(user: User) -> None:
    # Given a master
    master = user.start()
    runtime = run_dir_of(user, master).parent

    # When the directory of its sockets is deleted, then no second master starts, even before the first has noticed
    os.kill(master["pid"], signal.SIGSTOP)
    shutil.rmtree(runtime)
    said = user.refused("start", code=ExitCode.ALREADY_RUNNING)
    assert f"(pid {master['pid']}) already has the roles checkout, complete, queue, transfer" in said
    os.kill(master["pid"], signal.SIGCONT)

    # And the first one can be reached again, moves jobs, replaces processes and stops
    wait_until(lambda: [row["pid"] for row in user.masters()] == [master["pid"]], 20, "the master in the status")
    os.kill(user.role("complete-1")["pid"], signal.SIGKILL)
    user.submit("chain(2)").wait_for("COMPLETED")
    assert user.role("complete-1")["restarts"] == 1
    user.ok("stop")
    wait_gone(all_pids([master]), timeout=1)
    assert run_dirs(runtime / "0") == []


def test_too_few_files_are_refused_in_one_line(user: User) -> None:
    # Given a shell in which a process can open few files, then the limit is named
    said = user.shell("ulimit -n 16; jfr-mp start")
    assert said.returncode == ExitCode.START_FAILED
    assert "lets a process open 16 files, and jfr-mp needs 256" in " ".join(said.stderr.split())

    # But where it may be raised, it is
    assert user.shell("ulimit -Sn 16; jfr-mp start").returncode == 0
    user.ok("stop")


def test_a_directory_that_cannot_be_written_is_refused_in_one_line(user: User) -> None:
    # Given that no file can grow, as on a full disk, not even one in which coverage is measured
    said = user.shell("unset COVERAGE_PROCESS_CONFIG; ulimit -f 0; jfr-mp start")
    assert said.returncode != 0
    assert "master.json: File too large" in " ".join(said.stderr.split())
    assert "Traceback" not in said.stderr


def test_the_next_start_continues_what_was_stopped(user: User, tmp_path: Path) -> None:
    # Given a running job with a child
    gate, ledger = tmp_path / "gate", tmp_path / "ledger"
    assert user.json("status", code=ExitCode.NOT_RUNNING)["masters"] == []
    master = user.start("--num-transfer", "2", "--num-complete", "2")
    assert [role["name"] for role in master["roles"]] == [
        *("checkout-1", "transfer-1", "transfer-2", "queue-1", "complete-1", "complete-2")
    ]
    flow = user.submit("Flow([a, link(a.output)])", setup=f"a = waits_for({str(gate)!r}, 5, {str(ledger)!r})")
    job = flow.wait_for_job("RUNNING")
    wait_until(ledger.exists, 30, "the start of the job")
    run_dir = run_dir_of(user, master)

    # When everything is stopped
    user.ok("stop")

    # Then only the process of the job is left, and the database shows no process and no lock
    wait_gone(all_pids([master]), timeout=1)
    assert is_alive(int(job["remote"]["process_id"]))
    assert run_dirs(run_dir) == []
    assert user.project.db.jfr_mp_processes.count_documents({}) == 0
    assert user.project.db.jf_auxiliary.find_one({"running_runner": {"$exists": True}})["running_runner"] is None
    assert user.project.db.jobs.count_documents({"lock_id": {"$ne": None}}) == 0
    assert user.json("status", code=ExitCode.NOT_RUNNING)["jobs"] == {"WAITING": 1, "RUNNING": 1}
    assert "no master" in user.refused("stop", code=ExitCode.NOT_RUNNING)

    # And when the job has ended meanwhile, the next start takes it up
    gate.touch()
    wait_gone([int(job["remote"]["process_id"])])
    user.start()
    assert flow.wait_for("COMPLETED").outputs == [5, 6]
    assert ledger_lines(ledger) == ["5"]


def test_kill_stops_all_at_once_and_restart_replaces_all(user: User) -> None:
    # Given a master for some of the roles
    first = user.start("--transfer", "--queue", "--num-transfer", "2")

    # When it is restarted
    user.ok("restart")

    # Then the same roles have new processes, and the master is in the same place
    (second,) = user.masters()
    assert [role["name"] for role in second["roles"]] == ["transfer-1", "transfer-2", "queue-1"]
    assert {role["state"] for role in second["roles"]} == {"RUNNING"}
    assert second["pid"] == first["pid"]
    replaced = {role["pid"] for role in first["roles"]}
    assert replaced.isdisjoint(all_pids([second]))
    wait_gone(replaced, timeout=1)

    # And when it is killed, no process is left, and a start works at once
    user.ok("kill")
    wait_gone(all_pids([second]), timeout=1)
    assert living(user) == []
    assert "no master" in user.refused("kill", code=ExitCode.NOT_RUNNING)
    assert user.start("--queue")["state"] == "RUNNING"


def test_restart_starts_all_roles_if_nothing_runs(user: User) -> None:
    # When nothing runs
    said = user.ok("restart")

    # Then all roles are started, and the user is told why
    assert "No master was running: starting all roles." in said
    (master,) = user.masters()
    assert [role["name"] for role in master["roles"]] == ["checkout-1", "transfer-1", "queue-1", "complete-1"]


def test_submit_says_when_no_master_runs(user: User) -> None:
    path = str(user.flow_file("add(1, 1)"))

    # The jobs wait, and the user is told so; standard output has the result only
    done = user.types("submit", path, "--json")
    assert done.returncode == 0
    assert "no master is running on any machine" in done.stderr
    assert json.loads(done.stdout)["db_ids"] == ["1"]

    # With a master for some roles there is nothing to say
    user.start("--queue")
    assert user.types("submit", path).stderr == ""


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

    # Then both masters complete it
    assert flow.wait_for("COMPLETED").outputs == [0, 1]

    # And a third master for the same role is refused, with the pid of the one that has it
    message = user.refused("start", "--transfer", code=ExitCode.ALREADY_RUNNING)
    taken_by = next(master["pid"] for master in user.masters() if master["roles"][0]["role"] == "checkout")
    assert f"pid {taken_by}" in message
    assert "transfer" in message
    assert "jfr-mp stop" in message
    assert len(user.masters()) == 2

    # And one stop stops both
    user.ok("stop")
    assert living(user) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_foreground_master_logs_to_the_terminal_and_stops_on_a_signal(
    user: User, processes: Processes, number: signal.Signals
) -> None:
    # Given a master in the foreground, which has run a job
    master = processes.start([JFR_MP, "start", "--foreground"], env=user.project.env, cwd=user.desk)
    flow = user.submit("add(1, 1)").wait_for("COMPLETED")
    line = f"complete of job {flow.db_ids[0]}: COMPLETED"
    wait_until(lambda: line in processes.output(master), 10, line)

    # When it gets Ctrl-C, or the signal of a service manager
    master.send_signal(number)

    # Then it exits with 0, and all its processes with it
    assert master.wait(timeout=30) == ExitCode.OK, processes.output(master)
    assert living(user) == []
    assert "Traceback" not in processes.output(master)


def test_a_closed_terminal_does_not_stop_a_daemon(user: User) -> None:
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

    # When one process runs its jobs until Ctrl-C
    runner = processes.start([JFR_MP, "run"], env=user.project.env)
    flow.wait_for("COMPLETED")
    runner.send_signal(signal.SIGINT)

    # Then files of that format have carried the output
    assert runner.wait(timeout=20) == ExitCode.OK, processes.output(runner)
    assert flow.outputs[1:] == [2, 3]
    assert [blob["data"] for blob in user.project.db.blobs.find()] == ["x" * 10_000]
    assert Path(flow.job()["run_dir"], file).exists()


@pytest.mark.parametrize("pid_of", ["no process", "another program"])
def test_the_directory_of_a_dead_master_is_removed(user: User, pid_of: str) -> None:
    # Given the directory of a master that died with its machine; its pid is free, or another program has it now
    master = user.start("--queue")
    directory = run_dir_of(user, master)
    content = json.loads((directory / "master.json").read_text())
    for process in psutil.Process(master["pid"]).children():
        process.kill()
    os.kill(master["pid"], signal.SIGKILL)
    wait_gone(all_pids([master]))
    stale = directory.rename(directory.with_name(str(os.getpid()))) if pid_of == "another program" else directory
    content["pid"] = int(stale.name)
    (stale / "master.json").write_text(json.dumps(content))
    assert (stale / "control.sock").is_socket()

    # When the user asks for the status, stops and starts
    assert user.json("status", code=ExitCode.NOT_RUNNING)["masters"] == []
    user.refused("stop", code=ExitCode.NOT_RUNNING)
    again = user.start("--queue")

    # Then the start works at once, the old directory is gone, and the program with its pid was not touched
    assert [path.name for path in run_dirs(directory)] == [str(again["pid"])]
    assert user.project.db.jfr_mp_processes.count_documents({}) == 2


def test_a_directory_without_a_valid_file_is_removed(user: User) -> None:
    # Given a truncated file of a master, and a file in the place of a socket
    master = user.start("--queue")
    directory = run_dir_of(user, master)
    user.ok("stop")
    directory.mkdir()
    (directory / "master.json").write_text('{"pid": ' + str(master["pid"]))
    (directory / "control.sock").write_text("no socket")

    # Then a start works
    assert user.json("status", code=ExitCode.NOT_RUNNING)["masters"] == []
    again = user.start("--queue")
    assert [path.name for path in run_dirs(directory)] == [str(again["pid"])]
