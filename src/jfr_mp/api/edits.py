"""Methods of `JobController` that edit jobs and flows or break their locks, with jobflow-remote's parameters.

They raise as the methods of `jfr_mp.api.commands` do.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from jfr_mp.api.access import ProjectAccess
from jfr_mp.config import ExecutionConfig
from jfr_mp.database import aggregation, children, flow_commands, job_edits, queries
from jfr_mp.database.filters import FlowFilter, JobFilter, JobId, conditions
from jfr_mp.database.job_edits import RunProperties
from jfr_mp.errors import InvalidQuery, NotFound
from jfr_mp.states import FlowState, JobState


def set_job_doc_properties(  # noqa: PLR0913, PLR0917 - the reference's signature
    self: ProjectAccess,
    values: dict[str, Any],
    db_id: str | None = None,
    job_id: str | None = None,
    job_index: int | None = None,
    wait: int | None = None,
    break_lock: bool = False,
    acceptable_states: list[JobState] | None = None,
    use_pipeline: bool = False,
) -> str:
    """Set fields of the document of a job, and return its db_id.

    Parameters
    ----------
    values
        The values by dotted field; with `use_pipeline`, expressions of an aggregation pipeline.
    db_id, job_id, job_index
        The job, as for `get_job_info`.
    wait, break_lock
        As for `jfr_mp.database.job_commands.LockPolicy`.
    acceptable_states
        The states in which the job may be; None for all.
    """
    job = self.one_job(job_id, db_id, job_index)
    policy = self.policy(wait, break_lock)
    return job_edits.set_values(
        self.db, job.db_id, policy, values, states=acceptable_states, pipeline=use_pipeline
    ).db_id


def set_job_state(  # noqa: PLR0913, PLR0917 - the reference's signature
    self: ProjectAccess,
    state: JobState,
    job_id: str | None = None,
    db_id: str | None = None,
    job_index: int | None = None,
    wait: int | None = None,
    break_lock: bool = False,
) -> str:
    """Set a job to any state, without any check, update the state of its flow, and return the db_id of the job."""
    job = self.one_job(job_id, db_id, job_index)
    return job_edits.set_state(self.db, job.db_id, state, self.policy(wait, break_lock)).db_id


def run_properties(
    self: ProjectAccess,
    worker: str | None,
    exec_config: str | ExecutionConfig | dict[str, Any] | None,
    resources: Any,
    priority: int | None,
    *,
    update: bool,
) -> RunProperties:
    """Return where and how jobs are to run, with names that the project knows.

    Raises
    ------
    NotFound
        The project has no such worker or execution configuration.
    """
    _check_name("worker", worker or None, self.project.workers)
    if isinstance(exec_config, str):
        _check_name("exec_config", exec_config or None, self.project.exec_config)
    elif exec_config is not None and not isinstance(exec_config, dict):
        exec_config = exec_config.model_dump()
    if resources is not None and not isinstance(resources, dict):
        # All keywords of a QResources are set, so there is nothing left to merge with.
        resources, update = resources.as_dict(), False
    return RunProperties(worker or None, exec_config or None, resources or None, priority, merge=update)


def set_run_properties(
    self: ProjectAccess,
    db_id: str,
    *,
    wait: int | None = None,
    break_lock: bool = False,
    update: bool = True,
    **values: Any,
) -> str:
    """Set where and how one job runs, and return its db_id.

    Parameters
    ----------
    db_id
        The job.
    wait, break_lock
        As for `jfr_mp.database.job_commands.LockPolicy`.
    update
        As for `JobController.set_job_run_properties`.
    values
        Those of `worker`, `exec_config`, `resources` and `priority` that change.
    """
    given = {"worker": None, "exec_config": None, "resources": None, "priority": None, **values}
    properties = run_properties(self, **given, update=update)
    return set_job_doc_properties(
        self,
        properties.values(),
        db_id=db_id,
        wait=wait,
        break_lock=break_lock,
        acceptable_states=list(properties.states),
        use_pipeline=True,
    )


def _check_name(what: str, name: str | None, known: Any) -> None:
    if name is not None and name not in known:
        raise NotFound(f"the project has no {what} {name!r}; known: {', '.join(sorted(known)) or 'none'}")


def set_flow_store(
    self: ProjectAccess,
    store: str | None,
    db_id: str | None = None,
    job_id: str | None = None,
    flow_id: str | None = None,
) -> None:
    """Choose the optional JobStore for the outputs of a flow that has not started; None for the default one."""
    if store is not None:
        _check_name("optional JobStore", store, self.project.optional_jobstores or {})
    flow_commands.set_store(self.db, queries.flow_id_query(db_id, job_id, flow_id), store, self.policy())


def ping_flow_doc(self: ProjectAccess, uuid: str) -> None:
    """Set the time of the last change of a flow to now."""
    flow_commands.touch(self.db, uuid)


def resume_flow(
    self: ProjectAccess,
    job_id: str | None = None,
    db_id: str | None = None,
    flow_id: str | None = None,
    wait: int | None = None,
    break_lock: bool = False,
) -> int:
    """Resume all paused and stopped jobs of a flow, and return their number."""
    query = queries.flow_id_query(db_id, job_id, flow_id)
    return len(flow_commands.resume_flow(self.db, query, self.policy(wait, break_lock)))


def unlock_jobs(  # noqa: PLR0913, PLR0917 - the reference's signature
    self: ProjectAccess,
    job_ids: JobId | list[JobId] | None = None,
    db_ids: str | list[str] | None = None,
    flow_ids: str | list[str] | None = None,
    states: JobState | list[JobState] | None = None,
    start_date: datetime | None = None,
    end_date: datetime | None = None,
    name: str | None = None,
    metadata: dict[str, Any] | None = None,
    workers: str | list[str] | None = None,
) -> int:
    """Break the locks of the selected jobs, even if another process holds them, and return their number.

    A process that is still working on such a job loses its work. Locks of processes that died are broken without this.
    """
    jobs = JobFilter.of(locked=True, **conditions(locals()))
    return aggregation.unlock_jobs(self.db, jobs)


def unlock_flows(  # noqa: PLR0913, PLR0917 - the reference's signature
    self: ProjectAccess,
    job_ids: str | list[str] | None = None,
    db_ids: str | list[str] | None = None,
    flow_ids: str | list[str] | None = None,
    states: FlowState | list[FlowState] | None = None,
    start_date: datetime | None = None,
    end_date: datetime | None = None,
    name: str | None = None,
) -> int:
    """Break the locks of the selected flows, as `unlock_jobs` does those of jobs; return their number."""
    flows = FlowFilter.of(locked=True, **conditions(locals()))
    return aggregation.unlock_flows(self.db, flows)


def stop_children(self: ProjectAccess, job_uuid: str) -> int:
    """Stop the direct children of a job that have not started, and return their number."""
    return children.stop_children(self.db, job_uuid, None)


def stop_jobflow(self: ProjectAccess, job_uuid: str | None = None, flow_uuid: str | None = None) -> int:
    """Stop all jobs of a flow that have not started, and return their number.

    Raises
    ------
    InvalidQuery
        Not exactly one of `job_uuid`, a job of the flow, and `flow_uuid` is given.
    """
    if (job_uuid is None) == (flow_uuid is None):
        raise InvalidQuery("give exactly one of job_uuid and flow_uuid")
    flow = aggregation.document(self.db.flows, queries.flow_id_query(None, job_uuid, flow_uuid), ["uuid"])
    return children.stop_jobflow(self.db, flow["uuid"], None) if flow else 0


def refresh_children(self: ProjectAccess, job_uuids: list[str]) -> list[str]:
    """Make READY those of some jobs that wait although their parents are done, and return their db_ids."""
    return children.ready_jobs(self.db, job_uuids)
