"""`JobController`: jobflow-remote's names for what the store package does."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any

from jfr_mp import step_table
from jfr_mp.cancelling import cancel_process
from jfr_mp.config import ConfigManager, ExecutionConfig, Project
from jfr_mp.database import claims, indexes, job_commands, queries, running_runner, setup, submission
from jfr_mp.database import flow_state as flow_states
from jfr_mp.database.connection import QueueDatabase
from jfr_mp.database.locks import MongoLock
from jfr_mp.database.rerun import Rerun
from jfr_mp.identity import new_owner
from jfr_mp.model import FlowInfo, JobDoc, JobInfo
from jfr_mp.outcomes import Advance
from jfr_mp.states import FlowState, JobState
from jfr_mp.steps.services import Services

if TYPE_CHECKING:
    from jobflow import Flow, Job
    from qtoolkit.core.data_objects import QResources

logger = logging.getLogger(__name__)

JobId = tuple[str, int]


class JobController:
    """Looks at and changes the jobs and flows of a project.

    Methods and parameters are those of jobflow-remote's JobController, as far as they are offered here.

    Parameters
    ----------
    db
        The queue database of the project.
    """

    def __init__(self, db: QueueDatabase) -> None:
        self.db = db
        self.project = db.project
        self.services = Services(db.project, self.get_flow_store)
        self._owner = new_owner()

    @classmethod
    def from_project_name(cls, project_name: str | None = None) -> JobController:
        """Return the controller of a project; None for the one of the settings."""
        return cls.from_project(ConfigManager().get_project(project_name))

    @classmethod
    def from_project(cls, project: Project) -> JobController:
        """Return the controller of a project.

        Raises
        ------
        DatabaseError
            The queue database does not answer or refuses us.
        """
        return cls(QueueDatabase.connect(project))

    def close(self) -> None:
        """Close every connection."""
        self.services.close()
        self.db.close()

    def reset(self) -> None:
        """Delete all jobs, flows and batches and prepare the database anew; outputs stay."""
        setup.reset(self.db)

    def build_indexes(self) -> None:
        """Make the indexes that are missing."""
        indexes.ensure_indexes(self.db)

    def add_flow(  # noqa: PLR0913, PLR0917 - the reference's signature
        self,
        flow: Flow | Job | list[Job],
        worker: str,
        allow_external_references: bool = False,
        exec_config: str | ExecutionConfig | None = None,
        resources: dict[str, Any] | QResources | None = None,
        priority: int = 0,
        jobstore: str | None = None,
    ) -> list[str]:
        """Insert a flow and return the db_ids of its jobs; `jfr_mp.submit_flow` checks the choices first."""
        setup.ensure_initialised(self.db)
        return submission.add_flow(
            self.db,
            flow,
            worker=worker,
            allow_external_references=allow_external_references,
            exec_config=exec_config,
            resources=resources,
            priority=priority,
            jobstore=jobstore,
        )

    def get_jobs_info(  # noqa: PLR0913, PLR0917 - the reference's signature
        self,
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
    ) -> list[JobInfo]:
        """Return the jobs that satisfy all conditions; see `jfr_mp.database.queries.build_job_query`."""
        query = queries.build_job_query(
            self.db,
            custom_query=custom_query,
            job_ids=job_ids,
            db_ids=db_ids,
            flow_ids=flow_ids,
            states=states,
            start_date=start_date,
            end_date=end_date,
            name=name,
            metadata=metadata,
            workers=workers,
            locked=locked,
        )
        return queries.jobs_info(self.db, query, sort=sort, limit=limit)

    def get_job_info(
        self, job_id: str | None = None, db_id: str | None = None, job_index: int | None = None
    ) -> JobInfo | None:
        """Return one job, by db_id or by uuid and index (None for the last), or None where there is none."""
        return queries.job_info(self.db, job_id=job_id, db_id=db_id, job_index=job_index)

    def get_job_doc(
        self, job_id: str | None = None, db_id: str | None = None, job_index: int | None = None
    ) -> JobDoc | None:
        """Return the whole document of one job, inputs included, or None where there is none."""
        query, sort = queries.job_id_query(db_id=db_id, job_id=job_id, job_index=job_index)
        return next(iter(queries.jobs_doc(self.db, query, sort=sort, limit=1)), None)

    def get_flows_info(  # noqa: PLR0913, PLR0917 - the reference's signature
        self,
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
        limit: int = 0,
        skip: int = 0,
        with_jobs_info: bool = False,
    ) -> list[FlowInfo]:
        """Return the flows that satisfy all conditions; see `jfr_mp.database.queries.build_flow_query`."""
        query = queries.build_flow_query(
            job_ids=job_ids,
            db_ids=db_ids,
            flow_ids=flow_ids,
            states=states,
            start_date=start_date,
            end_date=end_date,
            name=name,
            metadata=metadata,
            locked=locked,
        )
        return queries.flows_info(self.db, query, sort=sort, limit=limit, skip=skip, with_jobs_info=with_jobs_info)

    def get_flow_store(self, flow_id: str) -> str | None:
        """Return the name of the optional JobStore of a flow; None for the default one."""
        return queries.flow_store_name(self.db, flow_id)

    def get_job_output(
        self,
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
            What to load from additional stores, as for jobflow's JobStore.

        Raises
        ------
        ValueError
            There is no such job, or it has no output.
        """
        job = self.get_job_info(job_id=job_id, db_id=db_id, job_index=job_index)
        if job is None:
            raise ValueError(f"there is no job {db_id or job_id}")
        with self.services.jobstores.of_flow((job.hosts or [""])[-1]) as jobstore:
            return jobstore.get_output(job.uuid, job.index, load=load)

    def count_jobs(self, query: dict[str, Any] | None = None, **conditions: Any) -> int:
        """Return how many jobs satisfy a query and the conditions of `get_jobs_info`."""
        return queries.count_jobs(self.db, queries.build_job_query(self.db, custom_query=query, **conditions))

    def count_flows(self, query: dict[str, Any] | None = None, **conditions: Any) -> int:
        """Return how many flows satisfy a query, or the conditions of `get_flows_info`."""
        return queries.count_flows(self.db, query or queries.build_flow_query(**conditions))

    def count_jobs_states(self, states: list[JobState], worker: str | None = None) -> dict[JobState, int]:
        """Return the number of jobs in each of these states, of one worker or all."""
        return queries.count_jobs_states(self.db, states, worker)

    def count_flows_states(self, states: list[FlowState]) -> dict[FlowState, int]:
        """Return the number of flows in each of these states."""
        return queries.count_flows_states(self.db, states)

    def checkout_job(
        self,
        query: dict[str, Any] | None = None,
        flow_uuid: str | None = None,
        sort: list[tuple[str, int]] | None = None,
    ) -> JobId | None:
        """Check out the next READY job and return its uuid and index; None where there is none."""
        conditions = {**(query or {}), **({"job.hosts": flow_uuid} if flow_uuid else {})}
        with claims.claim(self.db, step_table.CHECKOUT, self._owner, query=conditions, sort=sort) as lock:
            job = lock.locked_document
            if job is None:
                return None
            claims.commit(self.db, lock, step_table.CHECKOUT, Advance(JobState.CHECKED_OUT), self.project.runner)
            return str(job["uuid"]), int(job["index"])

    def stop_job(
        self,
        job_id: str | None = None,
        db_id: str | None = None,
        job_index: int | None = None,
        wait: int | None = None,
        break_lock: bool = False,
    ) -> str:
        """Stop a job that is READY or on its way and cancel it at its scheduler; a warning tells where that failed.

        Parameters
        ----------
        job_id, db_id, job_index
            The job, as for `get_job_info`.
        wait, break_lock
            As for `jfr_mp.database.job_commands.LockPolicy`.

        Returns
        -------
        str
            Its db_id.

        Raises
        ------
        ValueError
            There is no such job.
        JfrMpError
            It cannot be stopped, or somebody held its lock.
        """
        chosen = self._db_id(job_id, db_id, job_index)
        self._end_process(job_commands.stop_job(self.db, chosen, self._policy(wait, break_lock)))
        return chosen

    def pause_job(
        self,
        job_id: str | None = None,
        db_id: str | None = None,
        job_index: int | None = None,
        wait: int | None = None,
    ) -> str:
        """Keep a job that is READY or WAITING from starting, until it is resumed; otherwise as `stop_job`."""
        return job_commands.pause_job(self.db, self._db_id(job_id, db_id, job_index), self._policy(wait)).db_id

    def resume_job(
        self,
        job_id: str | None = None,
        db_id: str | None = None,
        job_index: int | None = None,
        wait: int | None = None,
        break_lock: bool = False,
    ) -> str:
        """Let a job that was paused or stopped start, or wait for its parents; otherwise as `stop_job`."""
        policy = self._policy(wait, break_lock)
        return job_commands.resume_job(self.db, self._db_id(job_id, db_id, job_index), policy).db_id

    def retry_job(
        self,
        job_id: str | None = None,
        db_id: str | None = None,
        job_index: int | None = None,
        wait: int | None = None,
        break_lock: bool = False,
    ) -> str:
        """Let the step of a job that failed be tried again; otherwise as `stop_job`."""
        policy = self._policy(wait, break_lock)
        return job_commands.retry_job(self.db, self._db_id(job_id, db_id, job_index), policy).db_id

    def rerun_job(  # noqa: PLR0913, PLR0917 - the reference's signature
        self,
        job_id: str | None = None,
        db_id: str | None = None,
        job_index: int | None = None,
        force: bool = False,
        wait: int | None = None,
        break_lock: bool = False,
        delete_files: bool = True,
    ) -> list[str]:
        """Run a job again from the beginning, and what depends on it after it.

        Its process is cancelled where it has one; a warning tells where that failed.

        Parameters
        ----------
        job_id, db_id, job_index
            The job, as for `get_job_info`.
        force, delete_files
            See `jfr_mp.database.rerun.Rerun`.
        wait, break_lock
            As for `jfr_mp.database.job_commands.LockPolicy`.

        Returns
        -------
        list of str
            The db_ids of the jobs that were changed.

        Raises
        ------
        ValueError
            There is no such job.
        JfrMpError
            Running it again would leave its flow in disorder, or somebody held a lock.
        """
        rerun = Rerun(self.db, self._policy(wait, break_lock), force, delete_files, self._end_process)
        return rerun.of(self._db_id(job_id, db_id, job_index))

    def _db_id(self, job_id: str | None, db_id: str | None, job_index: int | None) -> str:
        job = self.get_job_info(job_id=job_id, db_id=db_id, job_index=job_index)
        if job is None:
            raise ValueError(f"there is no job {db_id or job_id}")
        return job.db_id

    def _policy(self, wait: float | None = None, break_lock: bool = False) -> job_commands.LockPolicy:
        return job_commands.LockPolicy(self._owner, wait=wait, break_lock=break_lock)

    def _end_process(self, job: JobInfo) -> None:
        if left := cancel_process(self.services, job):
            logger.warning("job %s: %s", job.db_id, left)

    def update_flow_state(self, flow_uuid: str) -> FlowState:
        """Derive the state of a flow from its jobs, write and return it; lock the flow first."""
        return flow_states.update_flow_state(self.db, flow_uuid)

    def get_running_runner(self) -> dict[str, Any] | None:
        """Return what the database says of the runner that is running, or None."""
        return running_runner.read(self.db)

    @contextmanager
    def lock_job(self, **lock_kwargs: Any) -> Iterator[MongoLock]:
        """Lock a job; the arguments are those of `MongoLock`."""
        with MongoLock(collection=self.db.jobs, **lock_kwargs) as lock:
            yield lock

    @contextmanager
    def lock_flow(self, **lock_kwargs: Any) -> Iterator[MongoLock]:
        """Lock a flow; the arguments are those of `MongoLock`."""
        with MongoLock(collection=self.db.flows, **lock_kwargs) as lock:
            yield lock
