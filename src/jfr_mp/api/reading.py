"""Methods of `JobController` that read jobs and flows. Names, parameters and results are those of jobflow-remote."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

from jfr_mp.api.access import ProjectAccess
from jfr_mp.api.documents import FlowInfo, JobInfo
from jfr_mp.database import queries, running_runner, trends
from jfr_mp.database.filters import FlowFilter, JobFilter, JobId, conditions
from jfr_mp.errors import NotFound
from jfr_mp.states import FlowState, JobState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jfr_mp.api.job_documents import JobDoc


def get_jobs_info(  # noqa: PLR0913, PLR0917 - the reference's signature
    self: ProjectAccess,
    custom_query: dict[str, Any] | None = None,
    job_ids: JobId | list[JobId] | None = None,
    db_ids: str | list[str] | None = None,
    flow_ids: str | list[str] | None = None,
    states: JobState | list[JobState] | None = None,
    start_date: datetime | None = None,
    end_date: datetime | None = None,
    name: str | None = None,
    metadata: dict[str, Any] | None = None,
    workers: str | list[str] | None = None,
    locked: bool = False,
    sort: list[tuple[str, int]] | None = None,
    limit: int = 0,
    skip: int = 0,
) -> list[JobInfo]:
    """Return the jobs that satisfy all conditions; see `jfr_mp.database.filters.JobFilter`.

    Raises
    ------
    ValueError
        `custom_query` repeats another condition.
    """
    jobs = JobFilter.of(**conditions(locals()))
    return [JobInfo.of(job) for job in queries.jobs_info(self.db, jobs, sort=sort, limit=limit, skip=skip)]


def get_job_info(
    self: ProjectAccess, job_id: str | None = None, db_id: str | None = None, job_index: int | None = None
) -> JobInfo | None:
    """Return one job, selected by db_id or by uuid and index (None for the last index), or None if there is none."""
    job = queries.job_info(self.db, job_id=job_id, db_id=db_id, job_index=job_index)
    return None if job is None else JobInfo.of(job)


def get_job_info_by_pid(self: ProjectAccess, pid: int | str) -> JobInfo | None:
    """Return the job that the scheduler knows by an id, or None if there is none."""
    jobs = get_jobs_info_query(self, {"remote.process_id": str(pid)}, limit=1)
    return jobs[0] if jobs else None


def get_jobs_info_query(self: ProjectAccess, query: dict[str, Any] | None = None, **kwargs: Any) -> list[JobInfo]:
    """Return the jobs that match a query of MongoDB; `kwargs` are ``sort``, ``limit`` and ``skip``."""
    return [JobInfo.of(job) for job in queries.jobs_info(self.db, JobFilter(further=query or {}), **kwargs)]


def get_jobs_doc_query(self: ProjectAccess, query: dict[str, Any] | None = None, **kwargs: Any) -> list[JobDoc]:
    """Return the whole documents of the jobs that match a query of MongoDB; `kwargs` as for `get_jobs_info_query`."""
    from jfr_mp.api.job_documents import JobDoc

    found = queries.job_documents(self.db, JobFilter(further=query or {}), **kwargs)
    return [JobDoc.model_validate(document) for document in found]


def get_jobs_doc(  # noqa: PLR0913, PLR0917 - the reference's signature
    self: ProjectAccess,
    custom_query: dict[str, Any] | None = None,
    job_ids: JobId | list[JobId] | None = None,
    db_ids: str | list[str] | None = None,
    flow_ids: str | list[str] | None = None,
    states: JobState | list[JobState] | None = None,
    start_date: datetime | None = None,
    end_date: datetime | None = None,
    name: str | None = None,
    metadata: dict[str, Any] | None = None,
    workers: str | list[str] | None = None,
    locked: bool = False,
    sort: list[tuple[str, int]] | None = None,
    limit: int = 0,
) -> list[JobDoc]:
    """Return the whole documents of the jobs that satisfy all conditions, inputs included; see `get_jobs_info`."""
    jobs = JobFilter.of(**conditions(locals()))
    return get_jobs_doc_query(self, jobs.query(self.db), sort=sort, limit=limit)


def get_job_doc(
    self: ProjectAccess, job_id: str | None = None, db_id: str | None = None, job_index: int | None = None
) -> JobDoc | None:
    """Return the whole document of one job, inputs included, or None if there is none."""
    query, sort = queries.job_id_query(db_id, job_id, job_index)
    documents = get_jobs_doc_query(self, query, sort=sort, limit=1)
    return documents[0] if documents else None


def get_job_output(
    self: ProjectAccess,
    job_id: str | None = None,
    db_id: str | None = None,
    job_index: int | None = None,
    load: bool | dict[str, Any] = False,
) -> Any:
    """Return the output of a job.

    Parameters
    ----------
    job_id, db_id, job_index
        The job, as for `get_job_info`.
    load
        The data to load from additional stores, as for jobflow's JobStore.

    Raises
    ------
    ValueError
        There is no such job, or it has no output.
    """
    job = self.one_job(job_id, db_id, job_index)
    with self.services.jobstore(job) as jobstore:
        return jobstore.get_output(job.uuid, job.index, load=load)


def get_flows_info(  # noqa: PLR0913, PLR0917 - the reference's signature
    self: ProjectAccess,
    job_ids: str | list[str] | None = None,
    db_ids: str | list[str] | None = None,
    flow_ids: str | list[str] | None = None,
    states: FlowState | list[FlowState] | None = None,
    start_date: datetime | None = None,
    end_date: datetime | None = None,
    name: str | None = None,
    metadata: dict[str, Any] | None = None,
    locked: bool = False,
    sort: list[tuple[str, int]] | None = None,
    jobs_sort: list[tuple[str, int]] | None = None,
    limit: int = 0,
    skip: int = 0,
    with_jobs_info: bool | list[str] = False,
) -> list[FlowInfo]:
    """Return the flows that satisfy all conditions; see `jfr_mp.database.filters.FlowFilter`.

    Parameters
    ----------
    sort, jobs_sort
        The order of the flows, and of the jobs of each.
    limit, skip
        The maximum number of flows, 0 for no limit; and how many to leave out first.
    with_jobs_info
        Whether to read the jobs as well, with all their fields: a list of fields counts as True.
    """
    flows = FlowFilter.of(**conditions(locals()))
    found = queries.flows_info(
        self.db,
        flows,
        sort=sort,
        limit=limit,
        skip=skip,
        with_jobs_info=with_jobs_info is not False,
        jobs_sort=jobs_sort,
    )
    return [FlowInfo.of(flow) for flow in found]


def get_flow_store(self: ProjectAccess, flow_id: str) -> str | None:
    """Return the name of the optional JobStore of a flow, or None for the default one.

    Raises
    ------
    NotFound
        There is no such flow.
    """
    if not queries.count_flows(self.db, FlowFilter(flow_ids=(flow_id,))):
        raise NotFound(f"there is no flow {flow_id}")
    return queries.flow_store_name(self.db, flow_id)


def count_jobs(  # noqa: PLR0913, PLR0917 - the reference's signature
    self: ProjectAccess,
    query: dict[str, Any] | None = None,
    job_ids: JobId | list[JobId] | None = None,
    db_ids: str | list[str] | None = None,
    flow_ids: str | list[str] | None = None,
    states: JobState | list[JobState] | None = None,
    locked: bool = False,
    start_date: datetime | None = None,
    end_date: datetime | None = None,
    name: str | None = None,
    metadata: dict[str, Any] | None = None,
    workers: str | list[str] | None = None,
) -> int:
    """Return the number of jobs that satisfy all conditions, which are those of `get_jobs_info`, or match a query."""
    jobs = JobFilter.of(custom_query=query, **conditions(locals()))
    return queries.count_jobs(self.db, jobs)


def count_flows(  # noqa: PLR0913, PLR0917 - the reference's signature
    self: ProjectAccess,
    query: dict[str, Any] | None = None,
    job_ids: str | list[str] | None = None,
    db_ids: str | list[str] | None = None,
    flow_ids: str | list[str] | None = None,
    states: FlowState | list[FlowState] | None = None,
    start_date: datetime | None = None,
    end_date: datetime | None = None,
    name: str | None = None,
    metadata: dict[str, Any] | None = None,
    locked: bool = False,
) -> int:
    """Return the number of flows that satisfy all conditions, which are those of `get_flows_info`, or match a query."""
    flows = FlowFilter.of(custom_query=query, **conditions(locals()))
    return queries.count_flows(self.db, flows)


def count_jobs_states(
    self: ProjectAccess, states: Sequence[JobState], worker: str | None = None
) -> dict[JobState, int]:
    """Return the number of jobs in each of the states, for one worker or for all."""
    return queries.count_jobs_states(self.db, states, worker)


def count_flows_states(self: ProjectAccess, states: Sequence[FlowState]) -> dict[FlowState, int]:
    """Return the number of flows in each of the states."""
    return queries.count_flows_states(self.db, states)


def get_running_runner(self: ProjectAccess) -> dict[str, Any] | None:
    """Return the document of the running runner, or None if no runner is running."""
    return running_runner.read(self.db)


def get_trends(
    self: ProjectAccess,
    states: Sequence[JobState] | Sequence[FlowState],
    interval: str = "days",
    num_intervals: int | None = None,
    interval_timezone: str = "UTC",
) -> dict[str, dict[Any, int]]:
    """Return how many jobs or flows last changed in each interval, by state; see `jfr_mp.database.trends.trends`."""
    return trends.trends(self.db, states, interval, num_intervals, interval_timezone)
