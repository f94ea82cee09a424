"""The kernel ends what uses up the memory: the job that does, and neither the runner nor the jobs beside it."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.acceptance.conftest import NewUser
from tests.support.jobs import ledger_lines
from tests.support.memory_group import MemoryGroup, killed_first
from tests.support.processes import is_alive, pids_with, wait_gone
from tests.support.user import User, summary
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(200)

#: Megabytes: what the job may use, and what the runner with all of its jobs may use.
FOR_A_JOB, FOR_ALL = 500, 1500
GOOD = 4
ERRORS = ["FAILED", "REMOTE_ERROR"]


@pytest.fixture
def little() -> Iterator[MemoryGroup]:
    """A group with memory for a job."""
    yield from _group(FOR_A_JOB)


@pytest.fixture
def shared() -> Iterator[MemoryGroup]:
    """A group with memory for a master, its role processes and some jobs."""
    yield from _group(FOR_ALL)


def _group(megabytes: int) -> Iterator[MemoryGroup]:
    try:
        group = MemoryGroup(megabytes)
    except OSError as error:
        # `test_the_kernel_would_kill_the_job_first` tests everywhere what the runner does for it.
        pytest.skip(f"this machine lets nobody make a control group: {error}")
    yield group
    group.close()


def _submit(user: User, jobs: str, setup: str = "") -> tuple[str, ...]:
    """Submit a flow of jobs; return their ids."""
    return user.submit(f"Flow([{jobs}])", setup=f"from tests.support.ledger_jobs import *\n{setup}").db_ids


def _good(ledger: Path) -> str:
    return f"*(link(None, {str(ledger)!r}, f'good-{{n}}') for n in range({GOOD}))"


def _expect_good(user: User, db_ids: tuple[str, ...]) -> None:
    jobs = user.project.db.jobs

    def ended() -> bool:
        return jobs.count_documents({"db_id": {"$in": db_ids}, "state": {"$in": ["COMPLETED", *ERRORS]}}) == GOOD

    wait_until(ended, 120, "the good jobs")
    found = list(jobs.find({"db_id": {"$in": db_ids}}))
    assert {job["state"] for job in found} == {"COMPLETED"}, summary(found)


def _take_memory(group: MemoryGroup) -> list[int]:
    """Return the processes of a group that the job of `uses_up_memory_together` has started."""
    found = []
    for pid in group.pids:
        with suppress(psutil.NoSuchProcess):
            if any("taken = bytearray" in part for part in psutil.Process(pid).cmdline()):
                found.append(pid)
    return found


def _expect_failure(user: User, db_id: str) -> None:
    """Expect that a job fails with a text that says why."""
    ended = {"db_id": db_id, "state": {"$in": ERRORS}, "lock_id": None}
    job = wait_until(lambda: user.project.db.jobs.find_one(ended), 60, "the end of the job that used up the memory")
    assert "it was probably killed" in job["error"]


def _expect_all_is_well(user: User, ledger: Path, master: int, *bad: str) -> None:
    """Expect that each job ran once, and that no process of the runner was killed."""
    assert ledger_lines(ledger) == sorted([*bad, *(f"good-{number}" for number in range(GOOD))])
    assert user.json("admin", "check")["findings"] == []
    assert is_alive(master)
    assert {role["restarts"] for role in user.masters()[0]["roles"]} == {0}


@pytest.mark.parametrize("warm", [True, False])
def test_a_job_in_a_group_of_its_own(new_user: NewUser, little: MemoryGroup, tmp_path: Path, warm: bool) -> None:
    # Given a job whose script enters a group with little memory, as a site can have it for each job
    ledger, config = tmp_path / "ledger", {"little": {"pre_run": little.enter}}
    user = new_user(exec_config=config, metadata={"jfr_mp": {"warm": warm}})
    master = user.start()
    # When it uses more, beside good jobs
    setup = (
        f"bad = uses_up_memory({str(ledger)!r}, 'bad')\n"
        "bad.update_config({'manager_config': {'exec_config': 'little'}})\n"
    )
    bad, *good = _submit(user, f"bad, {_good(ledger)}", setup)
    # Then it fails, and nothing else was killed
    _expect_good(user, tuple(good))
    _expect_failure(user, bad)
    assert little.kills >= 1
    _expect_all_is_well(user, ledger, master["pid"], "bad")


@pytest.mark.parametrize("warm", [True, False])
def test_a_job_in_the_group_of_the_runner(new_user: NewUser, shared: MemoryGroup, tmp_path: Path, warm: bool) -> None:
    # Given a master, its role processes and their jobs in one group, as in a service or a container
    ledger = tmp_path / "ledger"
    user = new_user(metadata={"jfr_mp": {"warm": warm}})
    assert user.shell(f"{shared.enter}; jfr-mp start").returncode == 0
    (master,) = user.masters()
    assert master["pid"] in shared.pids
    # When a job uses all of the memory, in many processes that are smaller than those of the runner
    (bad,) = _submit(user, f"uses_up_memory_together({str(ledger)!r}, 'bad')")
    # Then its processes are killed, and not those of the runner, which goes on with the next jobs
    _expect_failure(user, bad)
    assert shared.kills >= 1
    # And what the job has left behind is stopped
    wait_until(lambda: not _take_memory(shared), 30, "the end of the processes that the job left behind")
    _expect_good(user, _submit(user, _good(ledger)))
    _expect_all_is_well(user, ledger, master["pid"], "bad")


@pytest.mark.parametrize("warm", [True, False])
def test_the_kernel_would_kill_the_job_first(new_user: NewUser, tmp_path: Path, warm: bool) -> None:
    # Given a job whose processes are smaller than those of the runner, and that runs
    ledger = tmp_path / "ledger"
    user = new_user(metadata={"jfr_mp": {"warm": warm}})
    master = user.start()
    runner = {master["pid"], *(role["pid"] for role in user.masters()[0]["roles"])}
    (bad,) = user.submit("sleeps(1000)").db_ids
    running = {"db_id": bad, "state": "RUNNING", "lock_id": None}
    job = wait_until(lambda: user.project.db.jobs.find_one(running), 60, "the job")
    # The journal tells earlier that it runs than the worker command does, which says below that it was killed.
    wait_until((Path(job["run_dir"]) / "jfremote_out.json").exists, 60, "the worker command")
    session = int(job["remote"]["process_id"])
    # When, of all processes, the one is killed that the kernel would kill first, until the job has none
    folder = "JFREMOTE_PROJECTS_FOLDER"
    while of_job := _pids_of_session(session):
        first = killed_first({*of_job, *pids_with(folder, user.project.env[folder])})
        # Then it is never one of the runner, unless those of the job have ended meanwhile
        if first in runner:
            assert not any(is_alive(pid) for pid in of_job)
            continue
        os.kill(first, signal.SIGKILL)
        wait_gone([first])
    # And the job fails, and the runner goes on
    _expect_failure(user, bad)
    _expect_good(user, _submit(user, _good(ledger)))
    _expect_all_is_well(user, ledger, master["pid"])


def _pids_of_session(session: int) -> list[int]:
    found = []
    for pid in psutil.pids():
        with suppress(OSError):
            if os.getsid(pid) == session and is_alive(pid):
                found.append(pid)
    return found
