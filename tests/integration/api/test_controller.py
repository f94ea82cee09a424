"""`JobController` as scripts use it: reading, editing and deleting jobs and flows, on a real database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jobflow import Flow, Job
from qtoolkit.core.data_objects import QResources

from jfr_mp import JobController, submit_flow
from jfr_mp.config import ExecutionConfig
from jfr_mp.database.locks import MongoLock
from jfr_mp.errors import FlowLockedError, HostError, JobLockedError, NotAllowed, NotFound
from jfr_mp.states import FlowState, JobState
from tests.support.jobs import add, chain
from tests.support.projects import ProjectFactory, TestProject

Doc = dict[str, Any]


@pytest.fixture
def project(fresh_project: ProjectFactory) -> TestProject:
    return fresh_project(exec_config={"fast": {"modules": ["gcc"]}}, workers={"other": _OTHER})


_OTHER = {"type": "local", "scheduler_type": "shell", "work_dir": "/tmp"}


@pytest.fixture
def controller(project: TestProject) -> Iterator[JobController]:
    found = JobController.from_project_name()
    yield found
    found.close()


@pytest.fixture
def db_ids(project: TestProject, controller: JobController) -> list[str]:
    """A chain of three jobs."""
    flow = chain(3)
    flow.name = "three"
    flow.update_metadata({"kind": "chain"})
    return submit_flow(flow)


def job(project: TestProject, db_id: str) -> Doc:
    found = project.db.jobs.find_one({"db_id": db_id})
    assert found is not None
    return found


def states(project: TestProject) -> list[str]:
    return [found["state"] for found in project.db.jobs.find(sort=[("db_id", 1)])]


# Reading


def test_times_and_objects_are_those_of_the_reference(controller: JobController, db_ids: list[str]) -> None:
    controller.set_job_run_properties(
        exec_config=ExecutionConfig(modules=["gcc"]), resources=QResources(processes=2), db_ids=db_ids[0]
    )
    info = controller.get_job_info(db_id=db_ids[0])
    assert info is not None
    assert info.created_on.tzinfo is None
    document = controller.get_job_doc(db_id=db_ids[0])
    assert document is not None
    assert document.updated_on.tzinfo is None
    assert isinstance(document.job, Job)
    assert document.job.name == document.name == info.name
    assert isinstance(document.exec_config, ExecutionConfig)
    assert isinstance(document.resources, QResources)
    # What it would store is what is stored
    stored = controller.get_jobs({"db_id": db_ids[0]})[0]
    assert {**document.as_db_dict(), "_id": stored["_id"]} == stored
    (flow,) = controller.get_flows_info(db_ids=db_ids[0], with_jobs_info=["run_dir"])
    assert flow.updated_on.tzinfo is None
    assert flow.jobs_info is not None
    assert flow.jobs_info[0] == controller.get_job_info(db_id=db_ids[0])
    assert [row["db_id"] for row in flow.iter_job_prop()] == db_ids
    assert flow.ids_mapping == {uuid: {1: db_id} for uuid, db_id in zip(flow.job_ids, db_ids, strict=True)}


def test_the_same_job_is_found_in_each_way(project: TestProject, controller: JobController, db_ids: list[str]) -> None:
    first = job(project, db_ids[0])
    uuid, flow_uuid = first["uuid"], first["job"]["hosts"][-1]
    project.db.jobs.update_one({"db_id": db_ids[0]}, {"$set": {"remote.process_id": "77"}})
    by_pid = controller.get_job_info_by_pid(77)
    assert by_pid is not None
    assert by_pid.db_id == db_ids[0]
    assert controller.get_job_info_by_pid(78) is None
    raw = controller.get_job_info_by_job_uuid(uuid)
    assert raw is not None
    assert raw["db_id"] == db_ids[0]
    assert controller.get_job_info_by_job_uuid(uuid, 2) is None
    with pytest.raises(ValueError, match="'last'"):
        controller.get_job_info_by_job_uuid(uuid, "first")
    for flow in (controller.get_flow_info_by_flow_uuid(flow_uuid), controller.get_flow_info_by_job_uuid(uuid)):
        assert flow is not None
        assert flow["name"] == "three"
    assert len(controller.get_jobs_info_by_flow_uuid(flow_uuid, ["uuid"])) == 3
    assert [info.db_id for info in controller.get_jobs_info_query({"state": "READY"})] == db_ids[:1]
    assert [info.db_id for info in controller.get_jobs_info(sort=[("db_id", 1)], skip=1)] == db_ids[1:]
    assert [doc.db_id for doc in controller.get_jobs_doc(states=JobState.READY)] == db_ids[:1]
    assert controller.get_job_uuids([flow_uuid])[0] == uuid
    assert controller.get_job_doc(db_id="4711") is None
    (whole,) = controller.get_flow_job_aggreg(
        {"jobs_list.db_id": db_ids[1]}, {"name": 1}, {"db_id": 1}, jobs_sort=[("db_id", -1)]
    )
    assert (whole["name"], [row["db_id"] for row in whole["jobs_list"]]) == ("three", db_ids[::-1])
    (whole,) = controller.get_flow_jobs_data(projection={"jobs.db_id": 1})
    assert sorted(row["db_id"] for row in whole["jobs"]) == db_ids


def test_the_documents_of_a_flow_know_its_graph(
    project: TestProject, controller: JobController, db_ids: list[str]
) -> None:
    from jfr_mp.api.documents import FlowDoc, FlowInfo

    stored = project.db.flows.find_one()
    assert stored is not None
    flow = FlowDoc.model_validate(stored)
    first, second, third = flow.jobs
    assert flow.children == {first: [(second, 1)], second: [(third, 1)]}
    assert flow.descendants(first) == [(second, 1), (third, 1)]
    assert flow.descendants(third) == []
    assert flow.ids_mapping[second] == {1: db_ids[1]}
    assert flow.int_index_parents[third] == {1: [second]}
    assert {**flow.as_db_dict(), "_id": stored["_id"]} == stored
    (raw,) = controller.get_flow_job_aggreg(jobs_sort=[("db_id", 1)])
    assert FlowInfo.from_query_dict(raw).job_states == [JobState.READY, JobState.WAITING, JobState.WAITING]
    assert FlowInfo.from_query_dict(stored).db_ids == db_ids


# Editing


def test_run_properties(project: TestProject, controller: JobController, db_ids: list[str]) -> None:
    controller.set_job_run_properties(
        worker="other", exec_config="fast", resources={"nodes": 2, "$x": "$worker"}, priority=3, db_ids=db_ids
    )
    changed = job(project, db_ids[1])
    assert [changed[key] for key in ("worker", "exec_config", "priority")] == ["other", "fast", 3]
    assert changed["resources"] == {"nodes": 2, "$x": "$worker"}
    # A dictionary is merged with what is there, or replaces it
    controller.set_job_run_properties(exec_config={"modules": ["intel"]}, resources={"time": 5}, db_ids=db_ids[0])
    controller.set_job_run_properties(exec_config={"pre_run": "x"}, db_ids=db_ids[0])
    changed = job(project, db_ids[0])
    assert changed["exec_config"] == {"modules": ["intel"], "pre_run": "x"}
    assert changed["resources"] == {"nodes": 2, "$x": "$worker", "time": 5}
    controller.set_job_run_properties(resources={"time": 6}, update=False, db_ids=db_ids[0])
    assert job(project, db_ids[0])["resources"] == {"time": 6}
    # Names that the project does not have change nothing
    unknown: list[Doc] = [{"worker": "nobody"}, {"exec_config": "nothing"}]
    for wrong in unknown:
        with pytest.raises(ValueError, match="the project has no"):
            controller.set_job_run_properties(**wrong, db_ids=db_ids)
    # A job that is on its way can get another priority, and nothing else
    project.db.jobs.update_one({"db_id": db_ids[0]}, {"$set": {"state": "RUNNING"}})
    assert controller.set_job_run_properties(priority=9, db_ids=db_ids[0]) == db_ids[:1]
    with pytest.raises(NotAllowed, match="is RUNNING and cannot be changed"):
        controller.set_job_run_properties(worker="local", db_ids=db_ids[0])
    assert controller.set_job_run_properties(worker="local", flow_ids=db_ids[0], raise_on_error=False) == db_ids[1:]
    assert [job(project, db_id)["worker"] for db_id in db_ids] == ["other", "local", "local"]


def test_plural_forms(project: TestProject, controller: JobController, db_ids: list[str]) -> None:
    assert controller.pause_jobs(flow_ids=db_ids[0]) == db_ids
    assert states(project) == ["PAUSED"] * 3
    assert controller.resume_jobs(states=JobState.PAUSED) == db_ids
    assert states(project) == ["READY", "WAITING", "WAITING"]
    assert controller.stop_jobs(db_ids=db_ids, raise_on_error=False) == db_ids[:1]
    with pytest.raises(ValueError, match="cannot be paused"):
        controller.pause_jobs(db_ids=db_ids)
    assert controller.set_jobs_state(JobState.REMOTE_ERROR, db_ids=db_ids[0]) == db_ids[:1]
    project.db.jobs.update_one({"db_id": db_ids[0]}, {"$set": {"previous_state": "CHECKED_OUT"}})
    assert controller.retry_jobs(custom_query={"state": "REMOTE_ERROR"}) == db_ids[:1]
    assert controller.rerun_jobs([(job(project, db_ids[0])["uuid"], 1)], None, None) == db_ids[:1]
    assert states(project) == ["READY", "WAITING", "WAITING"]
    with pytest.raises(ValueError, match="max_limit=2"):
        controller.delete_jobs(max_limit=2)
    assert controller.count_jobs() == 3


def test_a_state_is_set_and_the_flow_follows(
    project: TestProject, controller: JobController, db_ids: list[str]
) -> None:
    for db_id in db_ids:
        assert controller.set_job_state(JobState.COMPLETED, db_id=db_id) == db_id
    assert controller.count_flows_states([FlowState.COMPLETED]) == {FlowState.COMPLETED: 1}


def test_a_flow_is_resumed_whole(project: TestProject, controller: JobController, db_ids: list[str]) -> None:
    controller.pause_jobs(db_ids=db_ids)
    assert controller.count_flows(states=FlowState.PAUSED) == 1
    # A lock on one of its jobs keeps all of them where they are
    with MongoLock(project.db.jobs, {"db_id": db_ids[2]}), pytest.raises(JobLockedError):
        controller.resume_flow(db_id=db_ids[0])
    assert states(project) == ["PAUSED"] * 3
    assert controller.resume_flow(job_id=job(project, db_ids[1])["uuid"]) == 3
    assert states(project) == ["READY", "WAITING", "WAITING"]
    assert controller.count_flows(states=FlowState.READY) == 1
    with pytest.raises(ValueError, match="none of its jobs is paused"):
        controller.resume_flow(db_id=db_ids[0])
    with pytest.raises(ValueError, match="there is no flow of job 4711"):
        controller.resume_flow(db_id="4711")


def test_the_store_of_a_flow(project: TestProject, db_ids: list[str]) -> None:
    project.rewrite(optional_jobstores={"archive": project.document["jobstore"]})
    controller = JobController.from_project_name()
    flow_id = job(project, db_ids[0])["job"]["hosts"][-1]
    assert controller.get_flow_store(flow_id) is None
    controller.set_flow_store("archive", db_id=db_ids[1])
    assert controller.get_flow_store(flow_id) == "archive"
    with pytest.raises(ValueError, match="no optional JobStore 'nowhere'; known: archive"):
        controller.set_flow_store("nowhere", flow_id=flow_id)
    with MongoLock(project.db.flows, {"uuid": flow_id}), pytest.raises(FlowLockedError):
        controller.set_flow_store(None, flow_id=flow_id)
    project.db.flows.update_one({"uuid": flow_id}, {"$set": {"state": "RUNNING"}})
    with pytest.raises(ValueError, match="only while it is READY"):
        controller.set_flow_store(None, flow_id=flow_id)
    assert controller.get_flow_store(flow_id) == "archive"
    with pytest.raises(ValueError, match="there is no flow"):
        controller.get_flow_store("4711")
    controller.close()


def test_locks_are_broken(project: TestProject, controller: JobController, db_ids: list[str]) -> None:
    project.db.jobs.update_many({"db_id": {"$in": db_ids[:2]}}, {"$set": {"lock_id": "mine"}})
    project.db.flows.update_one({}, {"$set": {"lock_id": "mine"}})
    assert controller.unlock_jobs(db_ids=db_ids[0]) == 1
    assert controller.unlock_jobs() == 1
    assert controller.unlock_flows(db_ids=db_ids[0]) == 1
    assert controller.unlock_flows() == 0


def test_children(project: TestProject, controller: JobController, db_ids: list[str]) -> None:
    uuids = [job(project, db_id)["uuid"] for db_id in db_ids]
    project.db.jobs.update_one({"db_id": db_ids[0]}, {"$set": {"state": "COMPLETED"}})
    assert controller.refresh_children(uuids) == db_ids[1:2]
    assert controller.stop_children(uuids[0]) == 1
    assert controller.stop_jobflow(job_uuid=uuids[0]) == 1
    assert states(project) == ["COMPLETED", "STOPPED", "STOPPED"]
    with pytest.raises(ValueError, match="exactly one"):
        controller.stop_jobflow()
    assert controller.stop_jobflow(flow_uuid="4711") == 0


# Deleting


def left_behind(project: TestProject) -> Doc:
    """Return what the database and the worker hold of the jobs."""
    return {
        "jobs": project.db.jobs.count_documents({}),
        "flows": project.db.flows.count_documents({}),
        "outputs": project.db.outputs.count_documents({}),
        "data": project.db.data.count_documents({}),
        "directories": len(list(project.work_dir.glob("*/*/*/*"))),
    }


def pretend_to_have_run(project: TestProject) -> None:
    """Give each job a run directory, an output and additional data."""
    for found in project.db.jobs.find():
        run_dir = project.work_dir / "aa" / "bb" / "cc" / f"{found['uuid']}_{found['index']}"
        run_dir.mkdir(parents=True)
        (run_dir / "jfremote_in.json").touch()
        project.db.jobs.update_one({"_id": found["_id"]}, {"$set": {"run_dir": str(run_dir), "state": "COMPLETED"}})
        keys = {"uuid": found["uuid"], "index": found["index"]}
        project.db.outputs.insert_one({**keys, "output": 1})
        project.db.data.insert_one({"job_uuid": found["uuid"], "job_index": found["index"], "blob_uuid": "x"})


@pytest.fixture
def done(project: TestProject) -> list[str]:
    """Three jobs that have run, in a project with additional data."""
    docs_store = project.document["jobstore"]["docs_store"]
    data = {**docs_store, "collection_name": "data"}
    project.rewrite(jobstore={"docs_store": docs_store, "additional_stores": {"data": data}})
    db_ids = submit_flow(chain(3))
    pretend_to_have_run(project)
    return db_ids


def test_a_flow_goes_with_all_that_it_has(project: TestProject, done: list[str]) -> None:
    controller = JobController.from_project_name()
    flow_id = job(project, done[0])["job"]["hosts"][-1]
    other = submit_flow(add(1, 1))
    assert controller.delete_flow(flow_id, delete_output=True, delete_files=True) is True
    assert left_behind(project) == {"jobs": 1, "flows": 1, "outputs": 0, "data": 0, "directories": 0}
    assert controller.delete_flow(flow_id) is False
    assert controller.delete_flows([flow_id, job(project, other[0])["job"]["hosts"][-1]]) != []
    assert left_behind(project)["flows"] == 0
    controller.close()


def test_a_flow_stays_whole_if_anything_of_it_cannot_go(project: TestProject, done: list[str]) -> None:
    controller = JobController.from_project_name()
    found = job(project, done[1])
    flow_id = found["job"]["hosts"][-1]
    # A job or the flow is locked
    for collection, query in ((project.db.jobs, {"db_id": done[1]}), (project.db.flows, {"uuid": flow_id})):
        with MongoLock(collection, query), pytest.raises((JobLockedError, FlowLockedError)):
            controller.delete_flow(flow_id, delete_output=True, delete_files=True)
        assert left_behind(project) == {"jobs": 3, "flows": 1, "outputs": 3, "data": 3, "directories": 3}
    # A directory is not one of a job
    Path(found["run_dir"], "jfremote_in.json").unlink()
    with pytest.raises(HostError, match="may not be a run directory"):
        controller.delete_flow(flow_id, delete_output=True, delete_files=True)
    assert left_behind(project)["jobs"] == left_behind(project)["outputs"] == 3
    assert Path(found["run_dir"]).exists()
    # No lock is left
    assert project.db.jobs.find_one({"lock_id": {"$ne": None}}) is None
    assert project.db.flows.find_one({"lock_id": {"$ne": None}}) is None
    assert controller.delete_flows(flow_id) == [flow_id]
    with pytest.raises(ValueError, match="max_limit=1"):
        controller.delete_flows(["a", "b"], max_limit=1)
    controller.close()


def test_a_job_leaves_its_flow(project: TestProject, done: list[str]) -> None:
    controller = JobController.from_project_name()
    gone = job(project, done[2])
    assert controller.delete_job(db_id=done[2], delete_output=True, delete_files=True) == done[2]
    assert left_behind(project) == {"jobs": 2, "flows": 1, "outputs": 2, "data": 2, "directories": 2}
    flow = project.db.flows.find_one()
    assert flow is not None
    assert [row[0] for row in flow["ids"]] == done[:2]
    assert gone["uuid"] not in flow["jobs"]
    assert gone["uuid"] not in flow["parents"]
    assert (flow["state"], flow["lock_id"]) == ("COMPLETED", None)
    # The last job of a flow does not leave it
    assert controller.delete_jobs(db_ids=done[1]) == done[1:2]
    with pytest.raises(ValueError, match="the only job of its flow"):
        controller.delete_job(db_id=done[0])
    # Unless there is no flow any more
    project.db.flows.delete_many({})
    other = JobController.from_project_name()
    assert other.delete_job(db_id=done[0]) == done[0]
    with pytest.raises(NotFound):
        other.delete_job(db_id=done[0])
    controller.close()
    other.close()


def test_files_are_removed_only_from_run_directories(project: TestProject, done: list[str]) -> None:
    controller = JobController.from_project_name()
    jobs = controller.get_jobs_info(sort=[("db_id", 1)])
    Path(jobs[1].run_dir or "", "jfremote_in.json").unlink()
    removed = controller.safe_delete_files([*jobs, jobs[0].model_dump()])
    assert removed == [jobs[0], jobs[2]]
    assert left_behind(project)["directories"] == 1
    controller.close()


def test_a_nested_flow(controller: JobController, project: TestProject) -> None:
    inner = add(1, 1)
    outer = Flow([Flow([inner], name="inner"), add(inner.output, 1)], name="outer")
    submit_flow(outer)
    with controller.lock_job_flow(job_id=inner.uuid, acceptable_states=[JobState.READY]) as (job_lock, flow_lock):
        assert job_lock.locked_document is not None
        assert flow_lock.locked_document is not None
        assert flow_lock.locked_document["name"] == "outer"
        with pytest.raises(JobLockedError), controller.lock_job_flow(job_id=inner.uuid):
            pass
    with pytest.raises(NotAllowed), controller.lock_job_flow(job_id=inner.uuid, acceptable_states=[JobState.FAILED]):
        pass


def test_an_auxiliary_document_is_locked(controller: JobController, db_ids: list[str]) -> None:
    query = {"next_id": {"$exists": True}}
    with controller.lock_auxiliary(filter=query) as lock, controller.lock_auxiliary(filter=query) as second:
        assert lock.locked_document is not None
        assert second.locked_document is None


def test_the_state_of_a_flow_with_states_that_are_not_stored_yet(
    project: TestProject, controller: JobController, db_ids: list[str]
) -> None:
    first, second, third = (job(project, db_id) for db_id in db_ids)
    flow = first["job"]["hosts"][-1]
    all_done: dict[str, dict[int, JobState | None]]
    all_done = {each["uuid"]: {1: JobState.COMPLETED} for each in (first, second, third)}
    assert controller.update_flow_state(flow) is FlowState.READY
    assert controller.update_flow_state(flow, {first["uuid"]: {1: JobState.FAILED}}) is FlowState.FAILED
    assert controller.update_flow_state(flow, all_done) is FlowState.COMPLETED
    # Without the job that was deleted
    gone: dict[str, dict[int, JobState | None]] = {first["uuid"]: {1: None}}
    assert controller.update_flow_state(flow, gone) is FlowState.WAITING
