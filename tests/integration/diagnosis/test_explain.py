"""Explaining jobs from Python, on a real database."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from jobflow import Flow

from jfr_mp import JobController
from jfr_mp.config import ConfigManager
from jfr_mp.diagnosis import causes, check_project, explain_job, running_roles
from jfr_mp.states import JobState
from tests.support.jobs import add, chain, total
from tests.support.projects import ProjectFactory


@pytest.fixture
def controller(fresh_project: ProjectFactory) -> Iterator[JobController]:
    """The controller of a fresh project."""
    controller = JobController.from_project_name(fresh_project().name)
    yield controller
    controller.close()


def put(controller: JobController, db_id: str, state: str, **fields: Any) -> None:
    controller.db.jobs.update_one({"db_id": db_id}, {"$set": {"state": state, **fields}})


def why(controller: JobController, db_id: str) -> list[str]:
    return [reason.why for reason in explain_job(controller, db_id=db_id).reasons]


def first_causes(controller: JobController, db_id: str) -> list[tuple[str | None, JobState | None]]:
    found = explain_job(controller, db_id=db_id).facts.causes
    return [(cause.job.db_id, cause.job.state) for cause in found]


@pytest.mark.parametrize(
    ("state", "command"),
    [
        ("FAILED", "rerun"),
        ("REMOTE_ERROR", "retry"),
        ("PAUSED", "resume"),
        ("STOPPED", "resume"),
        ("USER_STOPPED", "resume"),
    ],
)
def test_the_first_cause_of_a_chain_is_named(controller: JobController, state: str, command: str) -> None:
    # Given a chain of five jobs, of which the first does not complete
    first, *_, fourth, last = controller.add_flow(chain(5), "local")
    put(controller, first, state, error="Traceback\nValueError: no such basis set")

    # When the last is explained
    (reason,) = explain_job(controller, db_id=last).reasons

    # Then the first is named, why it does not complete, and what to do
    assert f"waits for job {fourth} (link), which is WAITING" in reason.why
    assert f"the first cause is job {first} (link), which is {state}: ValueError: no such basis set" in reason.why
    assert f"`jfr-mp job {command} {first}`" in reason.cure


def test_a_job_that_still_moves_is_a_cause_as_well(controller: JobController) -> None:
    first, _, last = controller.add_flow(chain(3), "local")

    assert first_causes(controller, last) == [(first, JobState.READY)]


def test_of_several_causes_each_is_named_once_and_what_is_stuck_first(controller: JobController) -> None:
    # Given two jobs, two that depend on both, and one that depends on these
    a, b = add(1), add(2)
    c, d = total([a.output, b.output]), total([b.output, a.output])
    db_ids = controller.add_flow(Flow([a, b, c, d, total([c.output, d.output])]), "local")
    put(controller, db_ids[0], "RUNNING")
    put(controller, db_ids[1], "FAILED")

    assert len(first_causes(controller, db_ids[4])) == 2
    first, second = why(controller, db_ids[4])
    assert f"the first cause is job {db_ids[1]} (add), which is FAILED" in first
    assert f"the first cause is job {db_ids[0]} (add), which is RUNNING" in second


def test_a_failed_parent_is_no_cause_for_a_job_that_accepts_it(controller: JobController) -> None:
    # Given a job whose parent failed, which it accepts, and one that waits for that job
    first, second, third = controller.add_flow(chain(3), "local")
    put(controller, first, "FAILED")
    put(controller, second, "WAITING", **{"job.config.on_missing_references": "none"})

    # Then the second is the cause: nothing blocks it, and nothing has made it READY
    assert first_causes(controller, third) == [(second, JobState.WAITING)]
    assert "although all its parents are done" in why(controller, third)[0]
    assert first_causes(controller, second) == []
    assert "cut off" in why(controller, second)[0]


def test_a_parent_that_does_not_exist_is_named(controller: JobController) -> None:
    first, _, third = controller.add_flow(chain(3), "local")
    uuid = (controller.db.jobs.find_one_and_delete({"db_id": first}) or {})["uuid"]

    assert f"the first cause is the job {uuid}, which does not exist" in why(controller, third)[0]


def test_of_a_job_that_was_replaced_the_last_index_counts(controller: JobController) -> None:
    # Given a job that was replaced by one that is paused
    first, _, third = controller.add_flow(chain(3), "local")
    document = controller.db.jobs.find_one({"db_id": first}, {"_id": 0}) or {}
    put(controller, first, "COMPLETED")
    controller.db.jobs.insert_one({**document, "db_id": "99", "index": 2, "state": "PAUSED"})

    assert first_causes(controller, third) == [("99", JobState.PAUSED)]


def test_the_walk_is_bounded(controller: JobController, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a chain that is longer than what is followed
    monkeypatch.setattr(causes, "MAX_LEVELS", 3)
    db_ids = controller.add_flow(chain(6), "local")

    # Then the farthest job is named
    assert f"the farthest that was examined is job {db_ids[1]} (link)" in why(controller, db_ids[5])[0]


def test_a_database_alone_is_enough(controller: JobController) -> None:
    (db_id,) = controller.add_flow(add(1), "local")

    assert explain_job(controller.db, db_id=db_id).reasons == explain_job(controller, db_id=db_id).reasons
    assert running_roles(controller.db) == frozenset()
    with pytest.raises(ValueError, match="no job 4711"):
        explain_job(controller, db_id="4711")


def test_a_project_is_checked(controller: JobController) -> None:
    checks = {check.what: check for check in check_project(ConfigManager().get_project_data(controller.project.name))}

    assert (checks["queue database"].verdict, checks["worker local: work_dir"].verdict) == ("ok", "ok")
