"""Several machines with one project: equal host names, roles that are split between them, machines that die."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from jfr_mp.config import ConfigManager
from jfr_mp.errors import ExitCode
from jfr_mp.identity import host_name
from jfr_mp.supervisor import fleet
from tests.acceptance.conftest import NewUser
from tests.support.machines import Machine, require_namespaces, wait_for_roles
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
    assert here.wait_for("FAILED").states == ["COMPLETED", "FAILED"]
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


def test_a_machine_is_commanded_from_another_one_through_the_database(owner: User, machine: NewMachine) -> None:
    # Given a master on another machine
    other = machine("a", "two")
    other.start("--checkout", "--transfer")
    wait_for_roles(owner.project, "checkout", "transfer")

    def tell(*argv: str, code: ExitCode = ExitCode.OK) -> tuple[str, str, str]:
        (result,) = owner.json(*argv, "--host", "two", code=code)
        return result["way"], result["outcome"], result["text"]

    def roles() -> list[str]:
        return sorted(record["name"] for record in owner.project.db.jfr_mp_processes.find({"kind": "role"}))

    # Then each command is carried out, or refused with the reason
    assert tell("log-level", "debug") == ("database", "done", "logs at level debug")
    assert tell("scale", "transfer=2") == ("database", "done", "transfer: 1 -> 2 processes")
    wait_until(lambda: roles() == ["checkout-1", "transfer-1", "transfer-2"], 20, "another process")
    assert tell("scale", "checkout=2", code=ExitCode.ERROR)[1] == "refused"
    assert tell("drain")[1] == "done"
    wait_until(lambda: roles() == ["transfer-1", "transfer-2"], 20, "checkout to stop")
    assert tell("pause")[1] == "done"
    wait_until(lambda: roles() == [], 20, "all roles to stop")
    assert tell("resume")[1] == "done"
    wait_until(lambda: roles() == ["checkout-1", "transfer-1", "transfer-2"], 20, "all roles to start")
    # And who is not there, or does not answer, is named
    assert "masters run on two" in owner.refused("pause", "--host", "three", code=ExitCode.NOT_RUNNING)
    master = owner.project.db.jfr_mp_processes.find_one({"kind": "master"})
    assert master is not None
    owner.project.db.jfr_mp_processes.insert_one({**master, "_id": "gone:1:a", "machine": "f" * 16})
    assert "several machines have the name two" in owner.refused("pause", "--host", "two", code=ExitCode.ERROR)
    (silent,) = owner.json("pause", "--host", "ffffffff", "--timeout", "1", code=ExitCode.TIMEOUT)
    assert (silent["outcome"], "withdrawn" in silent["text"]) == ("unanswered", True)
    owner.project.db.jfr_mp_processes.delete_one({"_id": "gone:1:a"})
    # And at last it stops
    assert "stopped" in owner.ok("stop", "--host", "two")
    assert owner.project.db.jfr_mp_processes.count_documents({}) == 0
    assert owner.project.db.jfr_mp_orders.count_documents({}) == 0


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
