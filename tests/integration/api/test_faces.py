"""The smaller parts of jobflow-remote's interface: the constructor from stores, hosts of workers, groups of states."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from jobflow import Flow, Job

from jfr_mp import ConfigManager, JobController, submit_flow
from jfr_mp.api import states
from jfr_mp.api.configuration import LocalWorker
from jfr_mp.api.hosts import WorkerHost
from jfr_mp.api.utilities import convert_utc_time, get_job_path, suuid
from jfr_mp.config.workers import ConnectionData, WorkerBase
from jfr_mp.errors import FlowLockedError, HostError, JobLockedError, RunnerLockedError
from jfr_mp.examples import jobs as examples
from jfr_mp.states import JobState
from tests.support.jobs import add
from tests.support.projects import ProjectFactory, TestProject


@pytest.fixture
def project(fresh_project: ProjectFactory) -> TestProject:
    return fresh_project()


def test_a_controller_of_stores(project: TestProject) -> None:
    # Given a store of jobs, and stores for outputs, as a script opens them
    submit_flow(add(1))
    found = ConfigManager().get_project()
    queue_store: Any
    queue_store, jobstore, other = found.get_queue_store(), found.get_jobstore(), found.get_jobstore()

    # When a controller is made of them, without a project
    with closing(JobController(queue_store, jobstore, optional_jobstores={"other": other})) as controller:
        # Then it works on the same database
        assert controller.count_jobs() == controller.jobs.count_documents({}) == 1
        assert controller.jobstore is jobstore
        assert controller.optional_jobstores["other"] is other
        assert controller.jobstore.count() == other.count() == 0
        assert (controller.jobs_collection, controller.batches_collection) == ("jobs", "batches")
        assert controller.pause_job(db_id="1") == "1"
        assert controller.queue_supports_transactions

        # And its database is that of pymongo, for those who need that
        db: Any = controller.db
        assert db.name == project.db.name
        assert db["flows"].count_documents({}) == 1
        assert "jobs" in db.list_collection_names()

    # And with a project and other names, it uses these
    queue_store = found.get_queue_store()
    with closing(JobController(queue_store, jobstore, "other_flows", project=found)) as controller:
        assert (controller.count_flows(), controller.project.name) == (0, "main")
        assert controller.flows_collection == "other_flows"


@pytest.fixture
def host(project: TestProject) -> Iterator[WorkerHost]:
    worker = ConfigManager().get_worker("local")
    assert isinstance(worker, WorkerBase)
    assert isinstance(worker, LocalWorker)
    with closing(worker.get_host()) as found:
        yield found


def test_the_host_of_a_worker(host: WorkerHost, tmp_path: Path) -> None:
    # When directories and files are made, with names that a shell would take apart
    place = tmp_path / "a b; c"
    assert host.mkdir(place / "d")
    assert host.mkdir(place, exist_ok=True)
    assert not host.mkdir(place, exist_ok=False)
    assert not host.mkdir(place / "x" / "y", recursive=False)
    assert not host.mkdir(place / "x" / "y", recursive=False, exist_ok=False)
    host.write_text_file(place / "one", "text")
    host.put(place / "one", place / "two")
    host.get(place / "two", place / "three")
    host.copy(place / "three", place / "four")
    host.move(place / "four", place / "five")
    host.remove(place / "two")

    # Then they are there
    assert sorted(host.listdir(place)) == ["d", "five", "one", "three"]
    assert host.read_text_file(place / "five") == "text"
    assert host.listdir(place / "none") == []
    assert host.execute('echo $(basename "$PWD") && echo e >&2 && exit 3', workdir=place) == ("a b; c\n", "e\n", 3)
    assert host.execute(["echo", "1"])[0] == "1\n"
    assert host.test() is None
    assert host.is_connected

    # And what cannot be done is an error that names the file, or False
    for act in (lambda: host.remove(place / "none"), lambda: host.move(place / "none", place / "n")):
        with pytest.raises(HostError, match="none"):
            act()
    with pytest.raises(HostError, match="no such directory"):
        host.rmtree(place / "none", raise_on_error=True)
    assert not host.rmtree(place / "none")
    assert host.rmtree(place)
    assert not host.exists(place)


def test_groups_of_states_and_errors() -> None:
    assert states.PAUSABLE_STATES_V == ["READY", "WAITING"]
    assert JobState.BATCH_RUNNING in states.RUNNING_STATES
    assert JobState.BATCH_RUNNING not in states.RESETTABLE_STATES + states.DELETABLE_STATES
    assert states.short_state_mapping["RU"] is JobState.RUNNING
    locked = {"db_id": "3", "uuid": "u", "lock_id": "l", "lock_time": datetime(2026, 1, 2)}  # noqa: DTZ001
    assert str(JobLockedError.from_job_doc(locked)) == "job 3 is locked by l since 2026-01-02 00:00:00 UTC"
    assert str(FlowLockedError.from_flow_doc(locked, "try again")).endswith("UTC: try again")
    assert "unlock-runner" in str(RunnerLockedError.from_runner_doc({"lock_id": "l"}))
    keys = ConnectionData(host="h", password="p", connect_kwargs={"timeout": 3})
    assert keys.get_connect_kwargs() == {"password": "p", "timeout": 3}


def test_utilities() -> None:
    uuid = suuid()
    assert get_job_path(uuid, 2, "/w").endswith(f"/{uuid}_2")
    assert convert_utc_time(datetime(2026, 1, 2)).tzinfo is not None  # noqa: DTZ001


def test_the_jobs_of_tutorials_run(project: TestProject) -> None:
    # Given the jobs that jobflow-remote's tutorials import
    from jfr_mp import Runner

    listed = examples.make_list(2, length=2)
    parts: list[Flow | Job] = [listed, examples.add_distributed(listed.output), examples.add_many(1, 2, 3)]
    submit_flow(Flow([*parts, examples.conditional_sum_replace([1, 2], min_n=6), examples.add_raise(1, 2)]))

    # When they run, then they do what their names say
    runner = Runner()
    runner.run_all_jobs(max_seconds=100)
    controller = runner.job_controller
    done = controller.get_jobs_info(states=JobState.COMPLETED)
    outputs = {job.name: controller.get_job_output(job_id=job.uuid) for job in done}
    assert [job.name for job in controller.get_jobs_info(states=JobState.FAILED)] == ["add_raise"]
    assert outputs["add_many"] == 6
    assert outputs["make_list"] == [2, 2]
    assert outputs["add"] == 3
    assert outputs["conditional_sum_replace"] == 8
    runner.cleanup()
