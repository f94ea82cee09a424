"""The kernel ends what uses up the memory: the job that does, and neither the runner nor the jobs beside it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.conftest import NewUser
from tests.support.jobs import ledger_lines
from tests.support.memory_group import MemoryGroup
from tests.support.processes import is_alive
from tests.support.user import User
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(200)

#: Megabytes: what the job may use, and what the runner with all of its jobs may use.
FOR_A_JOB, FOR_ALL = 500, 1500
GOOD = 4


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
        # What the runner does for it is tested everywhere: the jobs have a higher score.
        pytest.skip(f"this machine lets nobody make a control group: {error}")
    yield group
    group.close()


def _submit(user: User, jobs: str, setup: str = "") -> tuple[str, ...]:
    """Submit a flow of jobs; return their ids."""
    return user.submit(f"Flow([{jobs}])", setup=f"from tests.support.ledger_jobs import *\n{setup}").db_ids


def _good(ledger: Path) -> str:
    return f"*(link(None, {str(ledger)!r}, f'good-{{n}}') for n in range({GOOD}))"


def _expect_good(user: User, db_ids: tuple[str, ...]) -> None:
    completed = {"db_id": {"$in": db_ids}, "state": "COMPLETED"}
    wait_until(lambda: user.project.db.jobs.count_documents(completed) == GOOD, 120, "the good jobs")


def _expect_failure(user: User, db_id: str) -> None:
    """Expect that a job fails with a text that says why."""
    ended = {"db_id": db_id, "state": {"$in": ["FAILED", "REMOTE_ERROR"]}, "lock_id": None}
    job = wait_until(lambda: user.project.db.jobs.find_one(ended), 60, "the end of the job that used up the memory")
    assert "it was probably killed" in job["error"]


def _expect_all_is_well(user: User, ledger: Path, master: int) -> None:
    """Expect that each job ran once, and that no process of the runner was killed."""
    assert ledger_lines(ledger) == sorted(["bad", *(f"good-{number}" for number in range(GOOD))])
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
    _expect_all_is_well(user, ledger, master["pid"])


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
    _expect_good(user, _submit(user, _good(ledger)))
    _expect_all_is_well(user, ledger, master["pid"])
