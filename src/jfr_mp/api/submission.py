"""Putting flows into the queue, and choosing where and how their jobs run."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from jfr_mp.api.controller import JobController
from jfr_mp.config import ConfigManager, ExecutionConfig, Project
from jfr_mp.database.documents import members_of
from jfr_mp.embedded import ensure_running
from jfr_mp.errors import ConfigError, SubmissionError
from jfr_mp.jobdata.transfer_stores import additional_stores

if TYPE_CHECKING:
    from jobflow import Flow, Job, JobStore
    from qtoolkit.core.data_objects import QResources


def submit_flow(  # noqa: PLR0913, PLR0917 - the reference's signature
    flow: Flow | Job | list[Job],
    worker: str | None = None,
    project: str | None = None,
    exec_config: str | ExecutionConfig | None = None,
    resources: dict[str, Any] | QResources | None = None,
    priority: int = 0,
    allow_external_references: bool = False,
    jobstore: str | None = None,
) -> list[str]:
    """Put a flow into the queue of a project.

    Everything is checked first: either the whole flow is inserted, or nothing of it. A managed database that is down is
    started.

    Parameters
    ----------
    flow
        A flow, a job or a list of jobs.
    worker
        Where the jobs run unless they say otherwise; None for the first worker of the project.
    project
        The project; None for the one of the settings.
    exec_config
        What is set before and after each job: the name of one in the project, or the configuration itself.
    resources
        What is asked of the scheduler; None for the default of the worker.
    priority
        Jobs with a higher one are checked out first.
    allow_external_references
        Whether jobs may refer to outputs of jobs that are not in the flow.
    jobstore
        The optional JobStore that keeps the outputs; None for the default one.

    Returns
    -------
    list of str
        The ids of the jobs in the database.

    Raises
    ------
    ConfigError
        The project is not valid, or has no such worker, exec_config or JobStore.
    SubmissionError
        The flow itself is refused, for instance because it was submitted before.
    DatabaseError
        The queue database does not answer or refuses us.
    """
    from jobflow.core.flow import get_flow

    chosen = ConfigManager().get_project(project)
    worker = worker or _first_worker(chosen)
    _check_choices(chosen, worker, exec_config)
    chosen.get_jobstore(jobstore)
    try:
        whole: Any = get_flow(flow, allow_external_references=allow_external_references)
    except (ValueError, TypeError) as error:
        raise SubmissionError(f"the flow cannot be submitted: {error}") from error
    for job, _parents in members_of(whole):
        wishes = job.config.manager_config
        _check_choices(chosen, wishes.get("worker"), wishes.get("exec_config"), job.name)
        _check_stores(job, chosen.get_jobstore(jobstore), jobstore)

    ensure_running(chosen)
    controller = JobController.from_project(chosen)
    try:
        return controller.add_flow(
            flow=whole,
            worker=worker,
            exec_config=exec_config,
            resources=resources,
            priority=priority,
            allow_external_references=allow_external_references,
            jobstore=jobstore,
        )
    finally:
        controller.close()


def _first_worker(project: Project) -> str:
    if not project.workers:
        raise ConfigError(f"project {project.name!r} has no workers: add one to its file")
    return next(iter(project.workers))


def _check_choices(
    project: Project, worker: str | None, exec_config: str | ExecutionConfig | None, job_name: str | None = None
) -> None:
    """Raise ConfigError where a worker or exec_config is not in the project; `job_name` wished for it."""
    try:
        if worker:
            project.worker(worker)
        if isinstance(exec_config, str):
            project.get_exec_config(exec_config)
    except ConfigError as error:
        if job_name is None:
            raise
        raise ConfigError(f"job {job_name!r}: {error}") from error


def _check_stores(job: Job, jobstore: JobStore, name: str | None) -> None:
    """Raise ConfigError where a job wants an additional store that the JobStore does not have."""
    known = sorted(additional_stores(jobstore))
    missing = sorted(set(job._kwargs).difference(known))
    if missing:
        raise ConfigError(
            f"job {job.name!r} keeps data in the additional stores {missing}, which JobStore {name or '(default)'} "
            f"does not have; it has {known}"
        )


def set_run_config(  # noqa: PLR0913, PLR0917 - the reference's signature
    flow_or_job: Flow | Job,
    name_filter: str | None = None,
    function_filter: Callable[..., Any] | None = None,
    exec_config: str | ExecutionConfig | None = None,
    resources: dict[str, Any] | QResources | None = None,
    priority: int | None = None,
    worker: str | None = None,
    dynamic: bool = True,
    overwrite: bool = False,
) -> Flow | Job:
    """Choose, in place, where and how some jobs of a flow run.

    What is None is left to `submit_flow`. To ask for no resources at all pass an empty dictionary.

    Parameters
    ----------
    flow_or_job
        What to modify.
    name_filter, function_filter
        Only jobs with this in their name, or of this function; None for all.
    exec_config, resources, priority, worker
        The choices, as in `submit_flow`.
    dynamic
        Whether jobs that these jobs create inherit the choices.
    overwrite
        Whether the whole configuration of the jobs is replaced rather than merged with what it was.

    Returns
    -------
    Flow or Job
        The object that was passed.
    """
    values = {"exec_config": exec_config, "resources": resources, "worker": worker, "priority": priority}
    choices = {name: value for name, value in values.items() if value is not None}
    if not choices:
        return flow_or_job
    if overwrite:
        config: dict[str, Any] = {"manager_config": choices}
    else:
        config = {"_set": {f"manager_config->{name}": value for name, value in choices.items()}}
    update: Any = flow_or_job.update_config
    update(
        config=config,
        name_filter=name_filter,
        function_filter=function_filter,
        dynamic=dynamic,
        dict_mod=not overwrite,
    )
    return flow_or_job


def get_jobstore(project_name: str | None = None, jobstore_name: str | None = None) -> JobStore:
    """Return a JobStore of a project, not connected.

    Parameters
    ----------
    project_name
        The project; None for the one of the settings.
    jobstore_name
        One of its optional JobStores; None for the default one.
    """
    return ConfigManager().get_project(project_name).get_jobstore(jobstore_name)
