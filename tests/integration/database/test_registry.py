"""The registry of processes, the locks of the dead, and jobflow-remote's document of the running runner."""

from __future__ import annotations

import getpass
import secrets
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from jfr_mp.database import processes, running_runner
from jfr_mp.database.connection import QueueDatabase
from jfr_mp.database.processes import ProcessRecord, Report
from jfr_mp.errors import AlreadyRunning, RunnerLockedError
from jfr_mp.membership import peer
from jfr_mp.model import utcnow
from jfr_mp.states import JobState
from tests.support.jobs import add
from tests.support.processes import wait_gone

#: The process in whose name `queue` claims.
OWNER = "host:1:aaaa"


def _record(owner: str, kind: Any = "master", project: str = "main") -> ProcessRecord:
    return ProcessRecord(id=owner, kind=kind, host="host", pid=1, create_time=1.5, project=project)


def test_a_process_is_alive_while_its_heartbeat_is_fresh(queue: Any) -> None:
    # Given two processes, one of which had its last heartbeat a minute ago by the server's clock
    db = queue.db
    processes.register(db, _record("host:1:aaaa"))
    processes.register(db, _record("host:2:bbbb", kind="role"))
    minute_ago = [{"$set": {"heartbeat": {"$subtract": ["$$NOW", 60_000]}}}]
    db.processes.update_one({"_id": "host:2:bbbb"}, minute_ago)

    # Then it depends on the lease which are alive
    assert [record.id for record in processes.living(db, 30)] == ["host:1:aaaa"]
    left = processes.time_left(db, 30)
    assert 0 < left["host:1:aaaa"] <= 30
    assert -40 < left["host:2:bbbb"] <= -30
    assert len(processes.living(db, 90)) == len(processes.living(db, float("inf"))) == 2

    # And a heartbeat brings it back, with a report that may contain anything
    assert processes.heartbeat(db, "host:2:bbbb", Report(state="STOPPING", rows=[{"last_error": "$x is {} 'bad'"}]))
    record = next(record for record in processes.living(db, 30) if record.id == "host:2:bbbb")
    assert (record.state, record.rows, record.create_time) == ("STOPPING", [{"last_error": "$x is {} 'bad'"}], 1.5)


def test_a_heartbeat_tells_a_process_that_it_was_evicted(queue: Any) -> None:
    processes.register(queue.db, _record("host:1:aaaa"))
    processes.unregister(queue.db, "host:1:aaaa")
    assert processes.heartbeat(queue.db, "host:1:aaaa") is False
    assert processes.living(queue.db, 30) == []


def test_the_times_of_the_registry_are_by_the_servers_clock(queue: Any) -> None:
    before = queue.db.server_time()
    processes.register(queue.db, _record("host:1:aaaa"))
    [record] = processes.living(queue.db, 30)
    assert before <= record.started_on <= record.heartbeat <= queue.db.server_time()


def test_only_the_locks_of_one_owner_are_freed(queue: Any) -> None:
    # Given documents locked by a process, by one of a similar name, and by the peer
    holders = ["jfr-mp/h.st:1:aaaa/1", "jfr-mp/host:1:aaaa/2", "jfr-mp/h.st:1:aaaa2/3", "of the peer", None]
    for holder in holders:
        job = add(1)
        queue.add(job)
        queue.db.jobs.update_one({"uuid": job.uuid}, {"$set": {"lock_id": holder, "lock_time": utcnow()}})
        queue.db.flows.update_one({"jobs": job.uuid}, {"$set": {"lock_id": holder}})

    # When those of the first are freed
    assert processes.free_locks(queue.db, "h.st:1:aaaa") == 2

    # Then the others stay
    for collection in (queue.db.jobs, queue.db.flows):
        assert [document["lock_id"] for document in collection.find().sort("_id")] == [None, *holders[1:]]
    assert queue.db.jobs.find_one(sort=[("_id", 1)])["lock_time"] is None


@pytest.mark.timing
def test_the_transaction_of_a_killed_process_ends_with_its_locks(queue: Any) -> None:
    # Given a process that was killed in the middle of a transaction, which the server keeps
    job, owner = add(1), "host:1:dead"
    queue.add(job)
    queue.put(job, JobState.DOWNLOADED, lock_id=f"jfr-mp/{owner}/1")
    processes.register(queue.db, _record(owner, kind="role"))
    dead = QueueDatabase.connect(queue.db.project)
    session = dead.client.start_session()
    session.start_transaction()
    processes.announce_session(dead, owner, session)
    dead.jobs.update_one({"uuid": job.uuid}, {"$set": {"state": "COMPLETED"}}, session=session)
    dead.flows.update_one({"jobs": job.uuid}, {"$set": {"lock_id": "jfr-mp/host:1:dead/1"}}, session=session)

    # When its locks are freed
    began = time.monotonic()
    assert processes.free_locks(queue.db, owner) == 1

    # Then another process completes the job at once
    queue.complete(job)
    assert time.monotonic() - began < 20
    assert queue.flow(job)["state"] == "COMPLETED"
    session.end_session()
    dead.close()


def test_a_process_that_frees_its_own_locks_goes_on(queue: Any) -> None:
    # Given a registered process that has completed a job
    job, other = add(1), add(2)
    for one in (job, other):
        queue.add(one)
    processes.register(queue.db, _record(OWNER, kind="role"))
    queue.complete(job)
    assert len(queue.db.processes.find_one({"_id": OWNER})["sessions"]) == 1

    # When it frees its locks, then it can complete another
    assert processes.free_locks(queue.db, OWNER) == 0
    queue.complete(other)
    assert queue.job(other)["state"] == "COMPLETED"


def test_masters_share_the_document_and_the_last_one_empties_it(queue: Any) -> None:
    # Given two masters
    db = queue.db
    for owner in ("host:1:aaaa", "host:2:bbbb"):
        peer.admit(db, _record(owner))
    runner = running_runner.read(db)
    assert runner is not None
    assert runner["jfr_mp"] == {"masters": ["host:1:aaaa", "host:2:bbbb"]}
    assert runner["daemon_dir"] == str(Path(db.project.daemon_dir) / "jfr_mp")

    # When they leave, then the second empties the document
    peer.withdraw(db, "host:1:aaaa")
    assert running_runner.read(db)["jfr_mp"] == {"masters": ["host:2:bbbb"]}
    peer.withdraw(db, "host:2:bbbb")
    assert running_runner.read(db) is None


def test_a_killed_master_does_not_keep_the_document(queue: Any) -> None:
    # Given two masters, the first of which was killed and evicted
    for owner in ("host:1:aaaa", "host:2:bbbb"):
        peer.admit(queue.db, _record(owner))
    processes.unregister(queue.db, "host:1:aaaa")

    # When the other leaves, then the document is empty
    peer.withdraw(queue.db, "host:2:bbbb")
    assert running_runner.read(queue.db) is None


def test_masters_of_another_project_are_refused(queue: Any) -> None:
    peer.admit(queue.db, _record("host:1:aaaa"))
    queue.db.auxiliary.update_one({"running_runner": {"$ne": None}}, {"$set": {"running_runner.project_name": "other"}})
    with pytest.raises(AlreadyRunning, match="project other"):
        peer.admit(queue.db, _record("host:2:bbbb"))
    assert [record.id for record in processes.living(queue.db, 30)] == ["host:1:aaaa"]


def _peer_runs(queue: Any, **fields: Any) -> None:
    """Write what jobflow-remote's daemon writes when it starts."""
    daemon_dir = Path(queue.db.project.daemon_dir)
    daemon_dir.mkdir(parents=True, exist_ok=True)
    runner = {
        "processes_info": None,
        "hostname": socket.gethostname(),
        "mac_address": None,
        "user": getpass.getuser(),
        "daemon_dir": str(daemon_dir),
        "project_name": queue.db.project.name,
        "start_time": utcnow(),
        "last_pinged": utcnow(),
        "runner_options": {},
        **fields,
    }
    queue.db.auxiliary.update_one({"running_runner": {"$exists": True}}, {"$set": {"running_runner": runner}})


@pytest.mark.parametrize("fields", [{"hostname": "elsewhere"}, {"user": "other"}, {"daemon_dir": "/not/here"}])
def test_a_daemon_of_jobflow_remote_that_may_be_alive_is_respected(queue: Any, fields: dict[str, Any]) -> None:
    _peer_runs(queue, **fields)
    with pytest.raises(AlreadyRunning, match=r"host .*, user .*, since .* clear its entry"):
        peer.admit(queue.db, _record("host:1:aaaa"))
    assert queue.db.auxiliary.find_one({"running_runner": {"$exists": True}})["lock_id"] is None
    assert not peer.is_of_jfr_mp(running_runner.read(queue.db) or {})


@pytest.mark.parametrize("part", ["supervisord", "process"])
def test_a_daemon_of_jobflow_remote_on_this_machine_is_respected_until_it_exits(queue: Any, part: str) -> None:
    # Given a daemon of jobflow-remote on this machine, or what is left of it after its supervisord was killed; the
    # name of its project is in no other command line of this machine
    project, name = queue.db.project, f"main_{secrets.token_hex(4)}"
    _peer_runs(queue, project_name=name)
    argv = {
        "supervisord": ["-c", str(Path(project.daemon_dir, "supervisord.conf"))],
        "process": ["-p", name, "runner", "run", "--queue"],
    }
    code = "import sys; print('up', flush=True); sys.stdin.read()"
    process = subprocess.Popen([sys.executable, "-c", code, *argv[part]], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin
    assert process.stdout
    assert process.stdout.readline() == b"up\n"
    try:
        with pytest.raises(AlreadyRunning, match="jf runner stop"):
            peer.admit(queue.db, _record("host:1:aaaa"))
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait()

    # When it has exited, then a master takes over its document
    wait_gone([process.pid])
    peer.admit(queue.db, _record("host:1:aaaa"))
    assert peer.is_of_jfr_mp(running_runner.read(queue.db) or {})


def test_an_error_names_the_holder_of_a_locked_document(queue: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running_runner, "_LOCKED_WITHIN", 0.1)
    queue.db.auxiliary.update_one({"running_runner": {"$exists": True}}, {"$set": {"lock_id": "of the peer"}})
    with pytest.raises(RunnerLockedError, match="of the peer"):
        peer.admit(queue.db, _record("host:1:aaaa"))
    queue.db.auxiliary.update_one({"running_runner": {"$exists": True}}, {"$set": {"lock_id": None}})
    peer.admit(queue.db, _record("host:1:aaaa"))


def test_a_ping_is_noted_where_jobflow_remote_looks(queue: Any) -> None:
    # Given a master
    peer.admit(queue.db, _record("host:1:aaaa"))
    before = running_runner.read(queue.db)["last_pinged"]

    # When it pings more often than pings are kept
    for number in range(52):
        running_runner.ping(queue.db, {"number": number})

    # Then the last ones are there
    assert running_runner.read(queue.db)["last_pinged"] >= before
    pings = queue.db.auxiliary.find_one({"runner_pings": {"$exists": True}})["runner_pings"]
    assert [ping["number"] for ping in pings] == list(range(2, 52))


def test_jobflow_remotes_check_takes_the_document_of_a_master_for_another_runners(queue: Any) -> None:
    # Given the fields that jobflow-remote compares with its own
    peer.admit(queue.db, _record("host:1:aaaa"))
    runner = running_runner.read(queue.db) or {}
    project = queue.db.project
    own = {"hostname": socket.gethostname(), "project_name": project.name, "daemon_dir": str(project.daemon_dir)}

    # Then it differs in the daemon_dir, and has what the message of jobflow-remote shows
    assert [key for key, value in own.items() if runner[key] != value] == ["daemon_dir"]
    assert runner.keys() >= {"user", "start_time", "last_pinged", "runner_options", "processes_info", "mac_address"}
