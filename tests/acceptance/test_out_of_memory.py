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
    group = MemoryGroup(FOR_A_JOB)
    yield group
    group.close()


@pytest.fixture
def shared() -> Iterator[MemoryGroup]:
    """A group with memory for a master, its role processes and some jobs."""
    group = MemoryGroup(FOR_ALL)
    yield group
    group.close()


def _submit(user: User, ledger: Path, job: str, setup: str = "") -> tuple[str, list[str]]:
    """Submit a job that uses up the memory, beside good ones; return the ids."""
    setup = f"from tests.support.ledger_jobs import *\nbad = {job}\n{setup}"
    flow = user.submit(
        f"Flow([bad, *(link(None, {str(ledger)!r}, f'good-{{n}}') for n in range({GOOD}))])", setup=setup
    )
    bad, *good = flow.db_ids
    return bad, good


def _expect(user: User, bad: str, good: list[str], ledger: Path) -> None:
    """Expect that the bad job fails with a text that says why, and that the good ones complete."""
    jobs = user.project.db.jobs
    completed = {"db_id": {"$in": good}, "state": "COMPLETED"}
    wait_until(lambda: jobs.count_documents(completed) == GOOD, 120, "the good jobs")
    ended = {"db_id": bad, "state": {"$in": ["FAILED", "REMOTE_ERROR"]}, "lock_id": None}
    job = wait_until(lambda: jobs.find_one(ended), 60, "the end of the job that used up the memory")
    assert "it was probably killed" in job["error"]
    assert ledger_lines(ledger) == sorted(["bad", *(f"good-{number}" for number in range(GOOD))])
    assert user.json("admin", "check")["findings"] == []


@pytest.mark.parametrize("warm", [True, False])
def test_a_job_in_a_group_of_its_own(new_user: NewUser, little: MemoryGroup, tmp_path: Path, warm: bool) -> None:
    # Given a job whose script enters a group with little memory, as a site can have it for each job
    ledger, config = tmp_path / "ledger", {"little": {"pre_run": little.enter}}
    user = new_user(exec_config=config, metadata={"jfr_mp": {"warm": warm}})
    master = user.start()
    # When it uses more
    enter = "bad.update_config({'manager_config': {'exec_config': 'little'}})"
    bad, good = _submit(user, ledger, f"uses_up_memory({str(ledger)!r}, 'bad')", enter)
    # Then it fails, and nothing else was killed
    _expect(user, bad, good, ledger)
    assert little.kills >= 1
    assert is_alive(master["pid"])
    assert {role["restarts"] for role in user.masters()[0]["roles"]} == {0}


@pytest.mark.parametrize("warm", [True, False])
def test_a_job_in_the_group_of_the_runner(new_user: NewUser, shared: MemoryGroup, tmp_path: Path, warm: bool) -> None:
    # Given a master, its role processes and their jobs in one group, as in a service or a container
    ledger = tmp_path / "ledger"
    user = new_user(metadata={"jfr_mp": {"warm": warm}})
    assert user.shell(f"{shared.enter}; jfr-mp start").returncode == 0
    (master,) = user.masters()
    assert master["pid"] in shared.pids
    # When a job uses all of the memory, in many processes that are smaller than those of the runner
    bad, good = _submit(user, ledger, f"uses_up_memory_together({str(ledger)!r}, 'bad')")
    # Then its processes are killed, and not those of the runner
    _expect(user, bad, good, ledger)
    assert shared.kills >= 1
    assert is_alive(master["pid"])
    assert {role["restarts"] for role in user.masters()[0]["roles"]} == {0}
