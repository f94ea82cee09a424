"""`JobController` as administrators use it: resetting, indexes, batches and the record of the runner."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from jfr_mp import JobController, Runner, submit_flow
from jfr_mp.errors import ConfigError, NotAllowed, NotFound
from jfr_mp.states import BatchState
from tests.support.jobs import add
from tests.support.projects import ProjectFactory, TestProject


@pytest.fixture
def project(fresh_project: ProjectFactory) -> TestProject:
    return fresh_project()


@pytest.fixture
def controller(project: TestProject) -> Iterator[JobController]:
    found = JobController.from_project_name()
    yield found
    found.close()


def test_a_reset_keeps_outputs_unless_asked(project: TestProject, controller: JobController) -> None:
    # Given a job that has an output
    submit_flow(add(1, 2))
    runner = Runner()
    runner.run_all_jobs(max_seconds=60)
    runner.cleanup()
    assert controller.jobstore.count() == 1

    # When there are too many flows, then nothing is deleted without today's date
    assert not controller.reset(max_limit=1, validation="2001-01-01")
    assert controller.jobs.count_documents({}) == 1

    # When the database is reset, then the output is kept
    assert controller.reset()
    assert controller.jobs.count_documents({}) == controller.flows.count_documents({}) == 0
    assert project.db.outputs.count_documents({}) == 1

    # And it is deleted if that is asked for, and the next flow begins anew
    assert controller.reset(reset_output=True)
    assert project.db.outputs.count_documents({}) == 0
    assert submit_flow(add(1)) == ["1"]
    assert controller.queue_store.count() == 1
    assert controller.optional_jobstores == {}


def test_indexes_of_the_user(project: TestProject, controller: JobController) -> None:
    # When a user makes indexes, they are there
    controller.create_indexes(["job.metadata.kind", [("name", 1), ("state", -1)]])
    controller.create_indexes(["name"], collection="flows")
    assert {"job.metadata.kind_1", "name_1_state_-1"} <= set(project.db.jobs.index_information())

    # When all are dropped and built again, only those that are named are there
    controller.build_indexes(job_custom_indexes=["job.metadata.sort"], drop=True)
    present = set(project.db.jobs.index_information())
    assert {"db_id_1", "job.metadata.sort_1"} <= present
    assert "job.metadata.kind_1" not in present

    # And an unknown collection and a unique index of values that repeat are refused with the reason
    with pytest.raises(ConfigError, match="colours"):
        controller.create_indexes(["a"], collection="colours")
    submit_flow([add(1), add(2)])
    with pytest.raises(NotAllowed, match="worker"):
        controller.create_indexes([[("worker", 1), ("priority", 1)]], unique=True)


def test_batches(project: TestProject, controller: JobController) -> None:
    # Given three batches
    now = datetime.now(UTC)
    for number, state in enumerate(BatchState):
        project.db.batches.insert_one(
            {
                "batch_uid": f"b{number}",
                "process_id": f"10{number}",
                "batch_state": state.value,
                "worker": "local",
                "jobs": [[str(number), f"uuid-{number}", 1]],
                "created_on": now,
                "updated_on": now,
            }
        )

    # Then each is found by what it is and by its jobs
    found = controller.get_batches
    assert [batch.batch_uid for batch in found(batch_state=BatchState.RUNNING)] == ["b1"]
    assert [batch.batch_uid for batch in found(process_id=["100", "102"])] == ["b0", "b2"]
    assert [batch.batch_uid for batch in found(job_ids=("uuid-2", 1))] == ["b2"]
    assert [batch.batch_uid for batch in found(db_ids=["0", "1"])] == ["b0", "b1"]
    assert found(job_ids=("uuid-2", 2)) == []
    assert len(found(limit=2)) == 2
    assert controller.count_batches(worker="local") == 3
    assert controller.get_batch_process_id("b1") == ("101", "local")
    with pytest.raises(NotFound, match="b9"):
        controller.get_batch_process_id("b9")

    # And only what is selected is deleted
    assert controller.delete_batches(batch_state=[BatchState.FINISHED]) == 1
    assert controller.count_batches() == 2


def test_the_record_of_the_runner(project: TestProject, controller: JobController) -> None:
    # Given the record of a daemon that was killed, and that left it locked
    controller.build_indexes()
    submit_flow(add(1))
    record = {"running_runner": {"$exists": True}}
    project.db.jf_auxiliary.update_one(record, {"$set": {"running_runner": {"hostname": "h"}, "lock_id": "left"}})
    project.db.jf_auxiliary.update_one({"runner_pings": {"$exists": True}}, {"$set": {"runner_pings": [{"a": 1}]}})

    # When it is unlocked and removed, both are gone
    assert controller.get_runner_pings() == [{"a": 1}]
    assert controller.unlock_runner() == (1, 1)
    assert controller.unlock_runner() == (1, 0)
    controller.clean_running_runner()
    controller.clean_runner_pings()
    assert controller.get_running_runner() is None
    assert controller.get_runner_pings() == []
