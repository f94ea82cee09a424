"""The database goes away while jobs run: everything goes on afterwards by itself."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from jfr_mp.errors import ExitCode
from tests.acceptance.conftest import NewUser
from tests.support.jobs import ledger_lines
from tests.support.mongod import Mongod
from tests.support.processes import wait_gone
from tests.support.user import all_pids
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize("seconds", [12, 30])
def test_jobs_go_on_after_an_outage_of_the_database(
    new_user: NewUser, own_mongod: Mongod, tmp_path: Path, seconds: int
) -> None:
    # Given jobs at all stages, and a project in which a job that spends an attempt is stuck
    user = new_user(
        server=own_mongod, runner={"max_step_attempts": 1, "delta_retry": [1000], "delay_check_run_status": 2}
    )
    ledger, gate = tmp_path / "ledger", tmp_path / "gate"
    before = user.start()
    waiting = user.submit("Flow([a, link(a.output)])", setup=f"a = waits_for({str(gate)!r}, 1)")
    signing = [f"writes_ledger({str(ledger)!r}, str({number}), 1)" for number in range(6)]
    flow = user.submit(f"Flow([{', '.join(signing)}, chain(3, {str(ledger)!r})])")
    waiting.wait_for_job("RUNNING")
    wait_until(lambda: "COMPLETED" in flow.states, 60, "the first jobs")

    # When the database crashes
    own_mongod.kill()
    back = time.monotonic() + seconds

    # Then status shows the processes all the same
    status = user.json("status")
    assert status["jobs"] is None
    assert [role["state"] for role in status["masters"][0]["roles"]] == ["RUNNING"] * 4

    # And when a job has ended meanwhile, and the database is back
    gate.touch()
    wait_until(lambda: time.monotonic() > back, seconds + 60, "the end of the outage")
    own_mongod.start()

    # Then everything goes on by itself
    for submitted in (flow, waiting):
        submitted.wait_for("COMPLETED", timeout=120)
        assert set(submitted.states) == {"COMPLETED"}
        assert {job["remote"]["step_attempts"] for job in submitted.jobs} == {0}
    assert waiting.outputs == [1, 2]
    assert ledger_lines(ledger) == ["0", "1", "2", "3", "4", "5", "link-0", "link-1", "link-2"]

    # And by the same processes, which stop well
    assert all_pids(user.masters()) == all_pids([before])
    user.ok("stop")


def test_start_and_stop_are_clear_in_an_outage(new_user: NewUser, own_mongod: Mongod) -> None:
    # Given a database that is down
    user = new_user(server=own_mongod)
    own_mongod.stop()
    user.refused("start", code=ExitCode.DATABASE)

    # When it is up again, a start works
    own_mongod.start()
    master = user.start()

    # And a stop works, too, while it is down
    own_mongod.stop()
    user.ok("stop")
    wait_gone(all_pids([master]), timeout=1)
