"""What a user does with flows while the master runs: wait for them, and delete them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from jfr_mp.errors import ExitCode
from tests.support.processes import is_alive
from tests.support.user import User
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(300)


def test_a_flow_is_submitted_and_waited_for(busy: User) -> None:
    # Given flows that end well and badly, when they are submitted and waited for
    well = busy.types("submit", str(busy.flow_file("Flow([a, add(a.output)])", "a = add(1, 2)")), "--wait", "--json")
    badly = busy.types("submit", str(busy.flow_file("Flow([a, add(a.output)])", "a = raises('no luck')")), "--wait")
    # Then what is printed and the exit code tell how they ended
    assert well.returncode == ExitCode.OK, well.stderr
    answer = json.loads(well.stdout)
    assert [job["state"] for job in answer["jobs"]] == ["COMPLETED", "COMPLETED"]
    assert [job["db_id"] for job in answer["jobs"]] == answer["db_ids"]
    assert badly.returncode == ExitCode.ERROR
    assert "1 FAILED, 1 WAITING" in badly.stdout
    # And the output is there
    assert busy.ok("job", "output", answer["db_ids"][1]) == "4\n"


def test_a_flow_that_runs_is_deleted_with_its_process(busy: User, gate: Path) -> None:
    # Given a job that runs, and one that waits for it
    flow = busy.submit("Flow([a, add(a.output)])", setup=f"a = waits_for({str(gate)!r})")
    job = flow.wait_for_job("RUNNING")
    pid, run_dir = int(job["remote"]["process_id"]), Path(job["run_dir"])
    # When its flow is deleted
    assert "1 of 1 done" in busy.ok("flow", "delete", "--db-id", flow.db_ids[1], "--all", "--yes")
    # Then its process ends, and nothing of it is left
    wait_until(lambda: not is_alive(pid), 20, "the end of the process")
    assert not run_dir.exists()
    assert busy.project.db.jobs.count_documents({"db_id": {"$in": list(flow.db_ids)}}) == 0
    assert busy.project.db.flows.count_documents({"jobs": job["uuid"]}) == 0
    # And the master goes on with others
    busy.submit("add(1, 2)").wait_for("COMPLETED")
