"""The resources of all methods of `JobController`: the queue database, the services and an identity for locks."""

from __future__ import annotations

import logging
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from jfr_mp.config import Project
from jfr_mp.database.connection import QueueDatabase
from jfr_mp.database.job_commands import LockPolicy
from jfr_mp.database.queries import job_info, store_name_of
from jfr_mp.errors import ConfigError, NotFound
from jfr_mp.identity import new_owner
from jfr_mp.jobdata.run_dirs import remove_run_dir
from jfr_mp.model import JobInfo

if TYPE_CHECKING:
    from jobflow import JobStore

    from jfr_mp.steps.services import Services

logger = logging.getLogger(__name__)


class ProjectAccess:
    """The connections of commands and scripts to one project.

    Parameters
    ----------
    db
        The queue database of the project.
    """

    def __init__(self, db: QueueDatabase) -> None:
        self.db = db
        self.project: Project = db.project
        self.owner = new_owner()

    @cached_property
    def services(self) -> Services:
        """The workers and JobStores of the project; what only reads the database does not import them."""
        from jfr_mp.steps.services import Services

        # Commands do not upload jobs, so there is no lease that a suspended command could lose.
        return Services(self.project, partial(store_name_of, self.db), holds_lease_since=lambda _moment: True)

    @property
    def queue_supports_transactions(self) -> bool:
        """Whether the server of the queue database supports transactions."""
        return self.db.supports_transactions

    @property
    def jobs(self) -> Any:
        """The collection of jobs."""
        return self.db.jobs

    @property
    def flows(self) -> Any:
        """The collection of flows."""
        return self.db.flows

    @property
    def auxiliary(self) -> Any:
        """The collection of everything else, such as the next db_id."""
        return self.db.auxiliary

    @property
    def batches(self) -> Any:
        """The collection of batches."""
        return self.db.batches

    @cached_property
    def jobstore(self) -> JobStore:
        """The default JobStore of the project, connected."""
        jobstore = self.project.get_jobstore()
        jobstore.connect()
        return jobstore

    @cached_property
    def optional_jobstores(self) -> dict[str, JobStore]:
        """The optional JobStores of the project by name, connected."""
        stores = {name: self.project.get_jobstore(name) for name in self.project.optional_jobstores or {}}
        for store in stores.values():
            store.connect()
        return stores

    @cached_property
    def queue_store(self) -> Any:
        """The maggma store of the jobs, connected."""
        store: Any = self.project.get_queue_store()
        store.connect()
        return store

    def close(self) -> None:
        """Close every connection."""
        opened = [getattr(self, name) for name in ("jobstore", "queue_store") if name in vars(self)]
        for store in (*opened, *vars(self).get("optional_jobstores", {}).values()):
            store.close()
        if "services" in vars(self):
            self.services.close()
        self.db.close()

    def one_job(self, job_id: str | None, db_id: str | None, job_index: int | None = None) -> JobInfo:
        """Return one job, selected by its db_id or by its uuid and index (None for the last index).

        Raises
        ------
        NotFound
            There is no such job; a ValueError, too.
        """
        job = job_info(self.db, job_id=job_id, db_id=db_id, job_index=job_index)
        if job is None:
            raise NotFound(f"there is no job {db_id or job_id}")
        return job

    def policy(self, wait: float | None = None, break_lock: bool = False) -> LockPolicy:
        """Return the lock policy of a command."""
        return LockPolicy(self.owner, wait=wait, break_lock=break_lock)

    def remove_run_dir(self, worker: str, run_dir: str) -> bool:
        """Remove a run directory on the host of a worker, and return whether it was there.

        Raises
        ------
        HostError
            The host cannot be used, or the directory is not a run directory.
        """
        return remove_run_dir(self.services.site(worker).host, run_dir)

    def cancel(self, job: JobInfo) -> None:
        """Cancel the scheduler job of a job; log a warning if that fails."""
        try:
            left = self.services.site(job.worker).cancel(job)
        except ConfigError as error:
            left = f"its process {job.remote.process_id or ''} may still be running: {error}"
        if left:
            logger.warning("job %s: %s", job.db_id, left)
