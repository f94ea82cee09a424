"""A step that hangs: it is shown, its process is replaced, its job is tried once more, and the others complete."""

from __future__ import annotations

from pathlib import Path

import pytest

from jfr_mp import faultpoints
from tests.acceptance.conftest import NewUser
from tests.support.user import User
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(200)

#: Seconds.
LIMIT = 4
POINT = "complete.after_copy"


@pytest.fixture
def faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    directory = tmp_path / "faults"
    directory.mkdir()
    monkeypatch.setenv(faultpoints.VARIABLE, str(directory))
    return directory


@pytest.fixture
def user(faults: Path, new_user: NewUser) -> User:
    """A user whose complete steps may take few seconds, and whose lock outlives all of the test."""
    del faults
    options = {"step_limits": {"complete": LIMIT}, "lease_ttl": 600, "heartbeat_interval": 0.5}
    return new_user(metadata={"jfr_mp": options}, runner={"delta_retry": [0, 0, 0]})


def hangs(faults: Path) -> None:
    (faults / "new").write_text("hang")
    (faults / "new").rename(faults / POINT)


def test_a_hung_step_is_cut(user: User, faults: Path) -> None:
    # Given a job whose step complete hangs
    hangs(faults)
    user.ok("start")
    flow = user.submit("Flow([add(1, 1)])")
    number, jobs = flow.db_ids[0], user.project.db.jobs

    # Then the heartbeat of the master says so, while the lock is held
    members = user.project.db["jfr_mp_processes"]
    master = wait_until(lambda: members.find_one({"steps.db_id": number}), 30, "the step in the heartbeat")
    assert [(step["step"], step["limit"]) for step in master["steps"]] == [("complete", LIMIT)]
    assert jobs.count_documents({"db_id": number, "lock_id": None}) == 0

    # When it hangs again after its process was replaced
    hangs(faults)
    job = flow.wait_for_job("REMOTE_ERROR", timeout=40)
    # Then that is said, and its lock is free, once its process has ended
    assert "the step complete did not end within 4 s" in job["remote"]["error"]
    assert "second time" in job["remote"]["error"]
    assert job["previous_state"] == "DOWNLOADED"
    wait_until(lambda: jobs.find_one({"db_id": number, "lock_id": None}), 20, "the lock to be freed")
    (complete,) = [role for role in user.json("status")["masters"][0]["roles"] if role["role"] == "complete"]
    assert complete["restarts"] == 2

    # And another job, and this one after a retry, complete
    user.ok("job", "retry", number)
    flow.wait_for("COMPLETED", timeout=40)
    assert user.submit("add(2, 2)").wait_for("COMPLETED", timeout=40).outputs == [4]
