"""Several machines with one project: equal host names, roles that are split between them, machines that die."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
import zmq

from jfr_mp.bus.keys import KeyPair, read_keys
from jfr_mp.bus.messages import CommandRequest, encode
from jfr_mp.config import ConfigManager
from jfr_mp.errors import ExitCode
from jfr_mp.identity import host_name
from jfr_mp.supervisor import fleet
from jfr_mp.supervisor.fleet_log import log_of
from jfr_mp.supervisor.log_order import LogArguments
from tests.acceptance.conftest import NewUser
from tests.support.machines import Machine, require_namespaces, wait_for_roles
from tests.support.mongod import Mongod
from tests.support.processes import Processes, free_port
from tests.support.sshd import Sshd
from tests.support.user import User
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(180)

LEASE_TTL = 4.0
OPTIONS = {"jfr_mp": {"lease_ttl": LEASE_TTL, "heartbeat_interval": 0.5}}

NewMachine = Callable[[str, str], Machine]


@pytest.fixture
def owner(new_user: NewUser, cluster: Sshd, tmp_path: Path) -> User:
    """The user of the project of all machines, who runs nothing."""
    require_namespaces()
    remote = cluster.worker(tmp_path / "remote", timeout_execute=60)
    return new_user(workers={"remote": remote}, metadata=OPTIONS)


@pytest.fixture
def machine(owner: User, processes: Processes, tmp_path: Path) -> NewMachine:
    """Call it with a name and a host name to get a machine."""
    return lambda name, host: Machine(host, tmp_path / name, owner.project, processes)


def files_in_database(user: User) -> int:
    return user.project.db["jfr_mp_outputs.files"].count_documents({})


def test_split_roles_complete_all_jobs_on_machines_of_the_same_name(owner: User, machine: NewMachine) -> None:
    # Given two machines with the same host name that share no file: the one reaches the cluster, the other completes
    near, far = machine("a", "clone"), machine("b", "clone")
    near.start("--transfer", "--queue")
    far.start("--checkout", "--complete")
    wait_for_roles(owner.project, "checkout", "transfer", "queue", "complete")

    # When flows run on the cluster and on the local worker of the first machine
    there = owner.submit("chain(2)", "--worker", "remote")
    here = owner.submit("Flow([add(1, 2), raises()])")

    # Then all of them end as they have to, and no file is left in the database
    assert there.wait_for("COMPLETED").outputs == [0, 1]
    here.wait_for_states(["COMPLETED", "FAILED"])
    assert here.outputs[0] == 3
    wait_until(lambda: not files_in_database(owner), 20, "the files in the database to be removed")
    # And neither machine has taken processes of the other for dead
    for each in (near, far):
        assert "evicted" not in each.output
        assert "its process is gone" not in each.output


def test_output_on_a_machine_that_died_is_downloaded_again(owner: User, machine: NewMachine) -> None:
    # Given a machine that has downloaded the output of a job, and died before it was completed
    first, second = machine("a", "one"), machine("b", "two")
    first.start("--checkout", "--transfer", "--queue")
    wait_for_roles(owner.project, "transfer", "queue")
    flow = owner.submit("add(1, 2)", "--worker", "remote")
    job = flow.wait_for_job("DOWNLOADED")
    assert job["remote"]["place"]
    first.cut_off()

    # When another machine has all roles
    second.start()

    # Then it completes the job
    assert flow.wait_for("COMPLETED").outputs == [3]


@pytest.mark.parametrize("way", ["bus", "database"])
def test_a_machine_is_commanded_from_another_one(owner: User, machine: NewMachine, tmp_path: Path, way: str) -> None:
    # Given a master on another machine
    if way == "bus":
        owner.project.rewrite(metadata={"jfr_mp": {**OPTIONS["jfr_mp"], "bus": f"tcp://127.0.0.1:{free_port()}"}})
        owner.ok("bus", "keys", "make")
    other = machine("a", "two")
    other.start("--checkout", "--transfer")
    wait_for_roles(owner.project, "checkout", "transfer")

    def tell(*argv: str, code: ExitCode = ExitCode.OK) -> tuple[str, str, str]:
        (result,) = owner.json(*argv, "--host", "two", code=code)
        return result["way"], result["outcome"], result["text"]

    def pids() -> dict[str, int]:
        return {record["name"]: record["pid"] for record in owner.project.db.jfr_mp_processes.find({})}

    def roles() -> list[str]:
        return sorted(record["name"] for record in owner.project.db.jfr_mp_processes.find({"kind": "role"}))

    # Then each command is carried out, or refused with the reason
    wait_until(lambda: tell("log-level", "debug") == (way, "done", "logs at level debug"), 20, f"the {way} to be used")
    assert tell("scale", "transfer=2") == (way, "done", "transfer: 1 -> 2 processes")
    wait_until(lambda: roles() == ["checkout-1", "transfer-1", "transfer-2"], 20, "another process")
    assert tell("scale", "checkout=2", code=ExitCode.ERROR)[1] == "refused"
    assert tell("drain")[1] == "done"
    wait_until(lambda: roles() == ["transfer-1", "transfer-2"], 20, "checkout to stop")
    assert tell("pause")[1] == "done"
    wait_until(lambda: roles() == [], 20, "all roles to stop")
    assert tell("resume")[1] == "done"
    wait_until(lambda: roles() == ["checkout-1", "transfer-1", "transfer-2"], 20, "all roles to start")
    # A bad project file is refused there, and a good one is applied
    text = other.project_file.read_text()
    other.project_file.write_text(text + "no_such_field: 1\n")
    outcome, why = tell("reload", code=ExitCode.ERROR)[1:]
    assert (outcome, "no_such_field" in why) == ("refused", True)
    other.project_file.write_text(text)
    before = pids()
    assert tell("reload")[:2] == (way, "done")
    wait_until(
        lambda: pids().keys() == before.keys() and not {*pids().values()} & {*before.values()} - {before["master"]},
        30,
        "all role processes to be replaced",
    )
    # A restart leaves its pid and the number of its processes
    before, owner_id = pids(), owner.project.db.jfr_mp_processes.find_one({"kind": "master"})
    assert tell("restart")[:2] == (way, "done")

    def restarted() -> bool:
        found = owner.project.db.jfr_mp_processes.find_one({"kind": "master"})
        return bool(found and owner_id and found["_id"] != owner_id["_id"]) and pids().keys() == before.keys()

    wait_until(restarted, 30, "the master to begin again")
    assert pids()["master"] == before["master"]
    # And at last it stops
    report = tmp_path / "report.json"
    assert "stopped" in owner.ok("stop", "--host", "two", "--json", str(report))
    assert [(each["way"], each["outcome"]) for each in json.loads(report.read_text())] == [(way, "done")]
    assert owner.project.db.jfr_mp_processes.count_documents({}) == 0
    assert owner.project.db.jfr_mp_orders.count_documents({}) == 0


def test_machines_that_share_the_directory_of_logs_write_files_of_their_own(
    owner: User, machine: NewMachine, tmp_path: Path
) -> None:
    # Given two machines, whose log_dir is one directory of a network file system
    owner.project.rewrite(log_dir=str(tmp_path / "shared"))
    first, second = machine("a", "one"), machine("b", "two")
    first.start("--transfer", "--queue")
    wait_for_roles(owner.project, "transfer", "queue")
    second.start("--transfer", "--queue", "--checkout", "--complete")
    wait_for_roles(owner.project, "checkout", "complete")
    # When jobs run on both
    owner.submit("Flow([add(1, n) for n in range(6)])", "--worker", "remote").wait_for("COMPLETED")

    # Then each file has the lines of one process
    files = {path.relative_to(tmp_path / "shared"): path for path in (tmp_path / "shared").rglob("*.log")}
    assert {str(path) for path in files if path.stem == "transfer-1"} == {
        "jfr_mp/transfer-1.log",
        "jfr_mp/two/transfer-1.log",
    }
    for path in files.values():
        assert len(set(re.findall(r"^\S+ \S+ \[\w+\] \S+ (\d+) ", path.read_text(), re.MULTILINE))) == 1
    # and each machine shows its own
    assert "checkout-1" not in first.types("logs", "-n", "1000").stdout
    assert "checkout-1" in second.types("logs", "-n", "1000").stdout
    # and a machine without logs shows those of all, each entry once, whether it reads the files or asks their machines
    third = machine("c", "three")
    assert "checkout-1" in third.types("logs", "-n", "1000").stdout
    for any_machine, both in ((third, {"one", "two"}), (first, {"one", "two"})):
        lines = any_machine.types("logs", "-n", "1000", "--all-hosts").stdout.splitlines()
        assert {line.partition(" | ")[0] for line in lines} == both
        assert sorted(lines) == sorted(set(lines))


@pytest.mark.parametrize("way", ["bus", "database"])
def test_the_log_of_all_machines_is_read_from_one(owner: User, machine: NewMachine, way: str) -> None:
    # Given masters on two other machines, which the bus reaches, or which it does not reach because it is blocked
    bus = f"tcp://127.0.0.1:{free_port()}"
    for name, roles in (("two", ("--checkout", "--transfer")), ("three", ("--queue", "--complete"))):
        # In another network namespace they would have one address each; here, the master of one has the port
        metadata = {**OPTIONS["jfr_mp"], **({"bus": bus} if name == "two" else {})}
        owner.project.rewrite(metadata={"jfr_mp": metadata})
        machine(name, name).start(*roles)
    owner.ok("bus", "keys", "make")
    wait_for_roles(owner.project, "checkout", "transfer", "queue", "complete")
    project = ConfigManager().get_project(owner.project.name)

    def way_to_two() -> str:
        return fleet.command(project, "log", hosts=["two"], number=1)[0].way

    wait_until(lambda: way_to_two() == "bus", 20, "the bus to be used")
    if way == "database":
        masters = owner.project.db.jfr_mp_processes
        masters.update_one({"kind": "master", "host": "two"}, {"$set": {"bus": f"tcp://127.0.0.1:{free_port()}"}})
        assert way_to_two() == "database"
    # When a job has run
    (db_id,) = owner.submit("add(1, 2)", "--worker", "remote").wait_for("COMPLETED").db_ids

    # Then the entries of both are there, in the order of their time
    lines = owner.ok("logs", "-n", "500", "--all-hosts").splitlines()
    assert {line.partition(" | ")[0] for line in lines} == {"two", "three"}
    heads = [rest for _, _, rest in (line.partition(" | ") for line in lines) if re.match(r"\d{4}-\d\d-\d\d ", rest)]
    assert heads == sorted(heads, key=lambda rest: rest[:23])
    assert {rest.split()[3] for rest in heads} >= {"transfer-1", "queue-1"}

    # And those of one machine, of one role, about the job, and of a time
    def shown(*hosts: str, **conditions: Any) -> set[tuple[str, str]]:
        wanted = LogArguments(number=500, **conditions)
        found = log_of(project, wanted, hosts=hosts, everywhere=not hosts)
        assert found.missing == ()
        return {(host, entry.text) for host, entry in found.entries}

    everything = shown()
    assert shown("three") == {pair for pair in everything if pair[0] == "three"}
    assert {host for host, _ in shown(role="transfer")} == {"two"}
    about = shown(job=db_id)
    assert about
    assert all(f"job {db_id}" in text for _, text in about)
    assert shown(since=time.time() - 3600) >= everything
    assert shown(since=time.time() + 3600) == set()
    assert shown(level="error") < everything
    # And a machine without a master is named
    assert "masters run on" in owner.refused("logs", "--host", "four", code=ExitCode.NOT_RUNNING)
    # And no order is left
    assert owner.project.db.jfr_mp_orders.count_documents({}) == 0


def test_machines_whose_log_is_missing_are_named_and_others_are_shown(owner: User, machine: NewMachine) -> None:
    # Given a master, the record of one that does nothing, and a machine that was cut off
    machine("a", "two").start("--checkout")
    lost = machine("b", "three")
    lost.start("--queue")
    wait_for_roles(owner.project, "checkout", "queue")
    lost.cut_off()
    wait_until(lambda: owner.project.db.jfr_mp_lost_masters.count_documents({}), 30, "a machine that was lost")
    records = owner.project.db.jfr_mp_processes
    master = records.find_one({"kind": "master"})
    assert master is not None
    later = master["heartbeat"] + timedelta(hours=1)
    records.insert_one({**master, "_id": "gone:1:a", "host": "four", "machine": "f" * 16, "heartbeat": later})
    # When the log of all machines is wanted
    done = owner.types("logs", "--all-hosts", "--timeout", "3")
    records.delete_one({"_id": "gone:1:a"})
    # Then that of the first is shown, and the others are named with the reason
    assert done.returncode == ExitCode.TIMEOUT
    assert {line.partition(" | ")[0] for line in done.stdout.splitlines()} == {"two"}
    assert "four ffffffff: its log is missing: the master has not taken the command" in done.stderr
    assert re.search(r"three \w{8}: its log is missing: its master was lost", done.stderr)


def test_masters_that_are_not_there_or_do_not_answer_are_named(owner: User, machine: NewMachine) -> None:
    # Given a master, and the record of one that does nothing
    machine("a", "two").start("--checkout")
    wait_for_roles(owner.project, "checkout")
    # Then who is not there, or does not answer, is named
    assert "masters run on two" in owner.refused("pause", "--host", "three", code=ExitCode.NOT_RUNNING)
    master = owner.project.db.jfr_mp_processes.find_one({"kind": "master"})
    assert master is not None
    later = master["heartbeat"] + timedelta(hours=1)
    owner.project.db.jfr_mp_processes.insert_one({**master, "_id": "gone:1:a", "machine": "f" * 16, "heartbeat": later})
    assert "several machines have the name two" in owner.refused("pause", "--host", "two", code=ExitCode.ERROR)
    (silent,) = owner.json("pause", "--host", "ffffffff", "--timeout", "1", code=ExitCode.TIMEOUT)
    assert (silent["outcome"], "withdrawn" in silent["text"]) == ("unanswered", True)
    owner.project.db.jfr_mp_processes.delete_one({"_id": "gone:1:a"})


def test_status_shows_all_machines_and_what_is_wrong(owner: User, machine: NewMachine) -> None:
    # Given a machine with some roles, and one that has died
    first, second = machine("a", "one"), machine("b", "two")
    first.start("--checkout", "--transfer")
    second.start("--queue")
    wait_for_roles(owner.project, "checkout", "transfer", "queue")
    # When
    status = owner.json("status")
    # Then
    masters = {row["host"]: row for row in status["machines"] if row["kind"] == "master"}
    assert masters.keys() == {"one", "two"}
    assert all(row["reachable"] and row["version"] and row["config"] and row["address"] for row in masters.values())
    assert masters["one"]["config"] == masters["two"]["config"]
    assert [(each["kind"], each["cure"]) for each in status["findings"]] == [("missing", "jfr-mp start --complete")]
    # And a machine that was lost is shown as long as it is, and after the others have forgotten its processes
    second.cut_off()

    def ghosts(text: str) -> list[str]:
        findings = owner.json("status")["findings"]
        return [each["text"] for each in findings if each["kind"] == "ghost" and text in each["text"]]

    wait_until(lambda: ghosts("the master on two ("), 20, "a machine that is silent")
    wait_until(lambda: ghosts("was lost"), 20, "a machine that was lost")
    # And not any more when it is back
    second.start("--queue")
    wait_until(lambda: not ghosts("two"), 20, "the machine to be back")


def test_a_machine_is_commanded_over_the_bus_and_through_the_database_if_that_is_blocked(
    owner: User, machine: NewMachine
) -> None:
    # Given a master that listens for other machines
    port = free_port()
    metadata = {"jfr_mp": {**OPTIONS["jfr_mp"], "bus": f"tcp://127.0.0.1:{port}"}}
    owner.project.rewrite(metadata=metadata)
    project = ConfigManager().get_project(owner.project.name)
    other = machine("a", "two")
    other.start("--checkout")
    wait_for_roles(owner.project, "checkout")

    def way() -> tuple[str, str]:
        (answer,) = fleet.command(project, "log-level", hosts=["two"], level="info")
        return answer.way, answer.outcome

    # Without keys of this machine, the database is the way
    assert way() == ("database", "done")
    # With keys, it is the bus as soon as the master knows them
    owner.ok("bus", "keys", "make")
    wait_until(lambda: way() == ("bus", "done"), 20, "an answer over the bus")
    # With keys that are revoked, or another port, it is the database again
    keys = owner.json("bus", "keys", "list")
    assert {key["host"] for key in keys} == {"two", host_name()}
    (mine,) = [key["key"] for key in keys if key["host"] != "two"]
    owner.ok("bus", "keys", "revoke", mine[:12], "--yes")
    wait_until(lambda: way() == ("database", "done"), 30, "an answer through the database")
    owner.ok("bus", "keys", "rotate")
    wait_until(lambda: way() == ("bus", "done"), 30, "an answer over the bus")
    owner.project.db.jfr_mp_processes.update_one(
        {"kind": "master"}, {"$set": {"bus": f"tcp://127.0.0.1:{free_port()}"}}
    )
    assert way() == ("database", "done")


def test_wake_ups_go_over_the_bus_if_the_server_reports_no_changes(
    new_user: NewUser, cluster: Sshd, mongod_standalone: Mongod, processes: Processes, tmp_path: Path
) -> None:
    # Given two machines that look for work every ten minutes, on a server without change streams
    require_namespaces()
    port, rarely = free_port(), 600.0

    def options(address: str) -> dict[str, Any]:
        return {"jfr_mp": {**OPTIONS["jfr_mp"], "bus": f"tcp://{address}:{port}", "probe_interval": rarely}}

    owner = new_user(
        server=mongod_standalone,
        workers={"remote": cluster.worker(tmp_path / "remote", timeout_execute=60)},
        metadata=options("127.0.0.1"),
        runner={"delay_checkout": rarely, "delay_advance_status": rarely},
    )
    near = Machine("one", tmp_path / "a", owner.project, processes)
    owner.project.rewrite(metadata=options("127.0.0.2"))
    far = Machine("two", tmp_path / "b", owner.project, processes)
    far.start("--complete")
    wait_for_roles(owner.project, "complete")

    # When a flow is there as the machine starts that has the other roles
    flow = owner.submit("chain(2)", "--worker", "remote")
    near.start("--checkout", "--transfer", "--queue")

    # Then the one is told that there is a job to complete, and the other that there is another one to check out
    assert flow.wait_for("COMPLETED").outputs == [0, 1]


def _connected(context: zmq.Context[zmq.Socket[bytes]], port: int, key: str, keys: KeyPair | None) -> zmq.Socket[bytes]:
    client = context.socket(zmq.DEALER)
    client.linger, client.sndhwm = 0, 0
    if keys is not None:
        client.curve_serverkey = key.encode()
        client.curve_secretkey, client.curve_publickey = keys.secret.encode(), keys.public.encode()
    client.connect(f"tcp://127.0.0.1:{port}")
    return client


def _throw_garbage(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=1) as garbage:
        try:
            for _ in range(200):
                garbage.sendall(b"\xff" * 100_000)
        except OSError:  # it was closed
            return


def test_abuse_of_the_bus_does_nothing_to_a_master(owner: User, machine: NewMachine) -> None:
    # Given a master that listens, and the keys of a friend, of a stranger, and one that was revoked
    port = free_port()
    owner.project.rewrite(metadata={"jfr_mp": {**OPTIONS["jfr_mp"], "bus": f"tcp://127.0.0.1:{port}"}})
    project = ConfigManager().get_project(owner.project.name)
    owner.ok("bus", "keys", "make")
    revoked = read_keys(project)
    owner.ok("bus", "keys", "rotate")
    friend = read_keys(project)
    stranger = KeyPair(*(part.decode() for part in zmq.curve_keypair()))
    assert revoked is not None
    assert friend is not None
    other = machine("a", "two")
    other.start("--checkout")
    wait_for_roles(owner.project, "checkout")
    record = owner.project.db.jfr_mp_processes.find_one({"kind": "master"})
    assert record is not None
    assert other.master is not None
    (master,) = psutil.Process(other.master.pid).children()
    stop = encode(CommandRequest(master=record["_id"], name="stop"))
    harmless = encode(CommandRequest(id="the same", master=record["_id"], name="resume"))
    before = master.memory_info().rss
    context = zmq.Context()

    def connected(keys: KeyPair | None) -> zmq.Socket[bytes]:
        return _connected(context, port, record["bus_key"], keys)

    # When all of them send commands to stop it, frames of 100 MB and 100,000 messages, as fast as they can
    clients = [connected(keys) for keys in (None, stranger, revoked) * 5]
    for client in clients:
        client.send(stop)
    large, flood = connected(friend), connected(friend)
    for _ in range(3):
        large.send(b"x" * 100_000_000)
    thrower = threading.Thread(target=_throw_garbage, args=(port,))
    thrower.start()
    for _ in range(100_000):
        flood.send(harmless)
    # Then the master answers as quickly as ever, over its own bus
    begun = time.monotonic()
    assert other.json("status")["masters"][0]["state"] == "RUNNING"
    seconds = time.monotonic() - begun
    assert seconds < 20
    # its memory stays as it is
    wait_until(lambda: "more than 20 messages a second" in other.output, 20, "a line about the flood")
    assert master.memory_info().rss - before < 40 * 2**20
    # and its log says each thing once
    assert other.output.count("its key is not one of the project") == 1
    assert other.output.count("more than 20 messages a second") == 1
    thrower.join()
    context.destroy(linger=0)
    assert "stopped" in owner.ok("stop", "--host", "two", "--timeout", "60")
