"""Submitting flows, and choosing where and how their jobs run."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jfr_mp.api.controller import JobController
from jfr_mp.config import ConfigManager, ExecutionConfig, Project
from jfr_mp.database.documents import JobOptions
from jfr_mp.database.setup import ensure_initialised
from jfr_mp.database.submission import add_jobs, valid_flow
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
    """Submit a flow to the queue of a project.

    All arguments are validated first, and the flow is inserted either completely or not at all. A managed database is
    started if it is not running.

    Parameters
    ----------
    flow
        A flow, a job or a list of jobs.
    worker
        The default worker of the jobs; None for the first worker of the project.
    project
        The project; None for the project chosen in the settings.
    exec_config
        The default execution configuration of the jobs: its name in the project, or the configuration itself.
    resources
        The resources to request from the scheduler; None for the default of the worker.
    priority
        Jobs with a higher priority are checked out first.
    allow_external_references
        Whether jobs may refer to outputs of jobs that are not in the flow.
    jobstore
        The name of the optional JobStore for the outputs; None for the default one.

    Returns
    -------
    list of str
        The db_ids of the jobs.

    Raises
    ------
    ConfigError
        The project is not valid, or has no such worker, exec_config or JobStore.
    SubmissionError
        The flow is refused, for example because it was already submitted.
    DatabaseError
        The queue database does not answer or refused the connection.
    """
    chosen = ConfigManager().get_project(project)
    worker = worker or _first_worker(chosen)
    _check_choices(chosen, worker, exec_config)
    store = chosen.get_jobstore(jobstore)
    whole, jobs = valid_flow(flow, allow_external_references)
    for new in jobs:
        job = new.job
        _check_origin(job)
        wishes = job.config.manager_config
        _check_choices(chosen, wishes.get("worker"), wishes.get("exec_config"), job.name)
        _check_stores(job, store, jobstore)

    ensure_running(chosen)
    controller = JobController.from_project(chosen)
    try:
        ensure_initialised(controller.db)
        options = JobOptions(worker, exec_config, resources, priority)
        return add_jobs(controller.db, whole, jobs, options, jobstore)
    finally:
        controller.close()


def _first_worker(project: Project) -> str:
    if not project.workers:
        raise ConfigError(f"project {project.name!r} has no workers; add one to the project file")
    return next(iter(project.workers))


def _check_choices(
    project: Project, worker: str | None, exec_config: str | ExecutionConfig | None, job_name: str | None = None
) -> None:
    """Raise a `ConfigError` if the project does not have a worker or an exec_config; `job_name` is the job with it."""
    try:
        if worker:
            project.worker(worker)
        if isinstance(exec_config, str):
            project.get_exec_config(exec_config)
    except ConfigError as error:
        if job_name is None:
            raise
        raise ConfigError(f"job {job_name!r}: {error}") from error


def _check_origin(job: Job) -> None:
    """Raise a `SubmissionError` if a worker cannot import the function of a job, because it is of a running script."""
    function: Any = job.function
    owner = type(function.__self__) if hasattr(function, "__self__") else function
    if "__main__" not in (function.__module__, owner.__module__):
        return
    file = Path(getattr(sys.modules["__main__"], "__file__", None) or "")
    where, advice = "an interactive session", ""
    if file.suffix == ".py":
        where = f"{file.name}, which is being run"
        advice = f"Submit it with `jfr-mp submit {file.name}`, without the call of submit_flow; or move "
    raise SubmissionError(
        f"job {job.name!r}: its function {function.__qualname__} is defined in {where}, so that no worker can import "
        f"it. {advice or 'Move '}the function to a module that the worker can import. Nothing was submitted"
    )


def _check_stores(job: Job, jobstore: JobStore, name: str | None) -> None:
    """Raise a `ConfigError` if a job uses an additional store that the JobStore does not have."""
    known = sorted(additional_stores(jobstore))
    missing = sorted(set(job._kwargs).difference(known))  # noqa: SLF001 - jobflow offers no other way
    if missing:
        raise ConfigError(
            f"job {job.name!r} stores data in the additional stores {missing}, which JobStore {name or '(default)'} "
            f"does not have; known: {known}"
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
    """Set where and how some jobs of a flow run, modifying the flow in place.

    Arguments that are None are left to `submit_flow`. To request no resources at all, pass an empty dictionary.

    Parameters
    ----------
    flow_or_job
        The flow or the job to modify.
    name_filter, function_filter
        Only jobs with this text in their name, or of this function; None for all jobs.
    exec_config, resources, priority, worker
        The values to set, as in `submit_flow`.
    dynamic
        Whether jobs that are created by these jobs inherit the values.
    overwrite
        Whether to replace the whole configuration of the jobs instead of merging the values with it.

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


def load_job_store(project: str | None = None) -> JobStore:
    """Return the default JobStore of a project (None for the chosen one); it is not connected."""
    return get_jobstore(project)


def get_jobstore(project_name: str | None = None, jobstore_name: str | None = None) -> JobStore:
    """Return a JobStore of a project; it is not connected.

    Parameters
    ----------
    project_name
        The project; None for the project chosen in the settings.
    jobstore_name
        The name of an optional JobStore; None for the default one.
    """
    return ConfigManager().get_project(project_name).get_jobstore(jobstore_name)
