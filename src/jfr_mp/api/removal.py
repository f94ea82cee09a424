"""Methods of `JobController` that delete jobs and flows, with jobflow-remote's parameters and results."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any

from jfr_mp.api.access import ProjectAccess
from jfr_mp.database import aggregation, deletion, queries
from jfr_mp.errors import HostError, InvalidQuery, JfrMpError, NotFound
from jfr_mp.logs import counted
from jfr_mp.model import JobInfo

logger = logging.getLogger(__name__)


def safe_delete_files(
    self: ProjectAccess, jobs_info: Sequence[JobInfo | dict[str, Any]]
) -> list[JobInfo | dict[str, Any]]:
    """Remove the run directories of jobs, and return the jobs whose directory was removed.

    A directory without the input file of a job is left alone, and so is one on a host that is unreachable; a warning
    gives the reason.
    """
    removed = []
    for job in jobs_info:
        fields = job if isinstance(job, dict) else job.model_dump(include={"db_id", "worker", "run_dir"})
        try:
            if fields["run_dir"] and self.remove_run_dir(fields["worker"], fields["run_dir"]):
                removed.append(job)
        except HostError as error:
            logger.warning("job %s: %s", fields.get("db_id"), error)
    return removed


def delete_job(  # noqa: PLR0913, PLR0917 - the reference's signature
    self: ProjectAccess,
    job_id: str | None = None,
    db_id: str | None = None,
    job_index: int | None = None,
    delete_output: bool = False,
    delete_files: bool = False,
    wait: int | None = None,
    break_lock: bool = False,
) -> str:
    """Delete one job of a flow, and return its db_id. A job that is on its way is cancelled at its scheduler.

    The jobs that depend on it are not changed, so the flow may be unable to go on.

    Parameters
    ----------
    job_id, db_id, job_index
        The job, as for `get_job_info`.
    delete_output, delete_files
        Whether to delete its output, additional data included, and its run directory.
    wait, break_lock
        As for `jfr_mp.database.job_commands.LockPolicy`.

    Raises
    ------
    NotFound
        There is no such job.
    NotAllowed
        It is the only job of its flow, or it is in the pool of a batch worker.
    HostError
        Its files are to be deleted, and the host cannot be used or the directory is not a run directory; the job stays.
    JobLockedError, FlowLockedError
        Another process still held a lock after the waiting time; nothing was changed.
    """
    job = self.one_job(job_id, db_id, job_index)
    with deletion.deleting_job(self.db, job.db_id, self.policy(wait, break_lock)) as doomed:
        store = queries.store_name_of(self.db, doomed) if delete_output else None
        _clear(self, [doomed], store, output=delete_output, files=delete_files, cancel=True)
    return job.db_id


def delete_flow(  # noqa: PLR0913, PLR0917 - the reference's signature
    self: ProjectAccess,
    flow_id: str,
    delete_output: bool = False,
    delete_files: bool = False,
    cancel_processes: bool = True,
    wait: int | None = None,
    break_lock: bool = False,
) -> bool:
    """Delete a flow with all its jobs, and return whether it existed.

    Parameters
    ----------
    flow_id
        The uuid of the flow.
    delete_output, delete_files
        Whether to delete the outputs of its jobs, additional data included, and their run directories.
    cancel_processes
        Whether to cancel jobs that are on their way at their scheduler.
    wait, break_lock
        As for `jfr_mp.database.job_commands.LockPolicy`.

    Raises
    ------
    HostError
        Files are to be deleted, and a host cannot be used or a directory is not a run directory; the flow stays.
    JobLockedError, FlowLockedError
        Another process still held a lock after the waiting time; nothing was changed.
    """
    try:
        with deletion.deleting_flow(self.db, {"uuid": flow_id}, self.policy(wait, break_lock)) as doomed:
            _clear(
                self,
                doomed.jobs,
                doomed.jobstore,
                output=delete_output,
                files=delete_files,
                cancel=cancel_processes,
            )
    except NotFound:
        return False
    return True


def delete_flows(  # noqa: PLR0913, PLR0917 - the reference's signature
    self: ProjectAccess,
    flow_ids: str | list[str] | None = None,
    max_limit: int = 10,
    delete_output: bool = False,
    delete_files: bool = False,
    cancel_processes: bool = True,
    raise_on_error: bool = False,
    wait: int | None = None,
    break_lock: bool = False,
) -> list[str]:
    """Delete flows and return the uuids of the ones that existed; parameters as for `delete_flow`.

    Parameters
    ----------
    flow_ids
        The uuids of the flows; None for all.
    max_limit
        If there are more flows than this, none is deleted; 0 for no limit.
    raise_on_error
        Whether the first flow that cannot be deleted ends the loop; otherwise the error is logged.
    """
    wanted = [flow_ids] if isinstance(flow_ids, str) else flow_ids
    if wanted is None:
        wanted = [flow["uuid"] for flow in aggregation.documents(self.db.flows, {}, ["uuid"])]
    if max_limit and len(wanted) > max_limit:
        raise InvalidQuery(
            f"{counted(len(wanted), 'flow')} selected, more than max_limit={max_limit}; nothing was deleted. "
            "Raise the limit, or pass 0 for no limit"
        )
    deleted = []
    for uuid in wanted:
        try:
            if delete_flow(self, uuid, delete_output, delete_files, cancel_processes, wait, break_lock):
                deleted.append(uuid)
        except JfrMpError as error:
            if raise_on_error:
                raise
            logger.error("flow %s was not deleted: %s", uuid, error)
    return deleted


def _clear(
    self: ProjectAccess, jobs: Iterable[JobInfo], store: str | None, *, output: bool, files: bool, cancel: bool
) -> None:
    """Do what lies outside of the database before jobs are deleted."""
    listed = list(jobs)
    with_files = [job for job in listed if files and job.run_dir]
    for worker in {job.worker for job in with_files}:
        # An unreachable host is noticed before anything is changed.
        self.services.site(worker).host.connect()
    if cancel:
        for job in listed:
            self.cancel(job)
    for job in with_files:
        self.remove_run_dir(job.worker, job.run_dir or "")
    if output:
        with self.services.jobstores.named(store) as jobstore:
            for uuid, index in [(job.uuid, job.index) for job in listed]:
                jobstore.remove_docs({"uuid": uuid, "index": index})
