"""Rerunning a job from the beginning; the jobs that depend on it wait for it again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jfr_mp.database.flow_state import update_flow_state
from jfr_mp.database.job_commands import UNTOUCHED, LockPolicy
from jfr_mp.errors import NotAllowed
from jfr_mp.model import JobInfo, utcnow
from jfr_mp.states import RUNNING_STATES, JobState

if TYPE_CHECKING:
    from jfr_mp.database.connection import QueueDatabase
    from jfr_mp.database.locks import MongoLock

_IN_POOL = (JobState.BATCH_SUBMITTED, JobState.BATCH_RUNNING)
#: The states in which no other job has used results of the job yet.
_ON_ITS_WAY = tuple(state for state in RUNNING_STATES if state not in _IN_POOL)
_ENDED_BADLY = (JobState.FAILED, JobState.REMOTE_ERROR)


@dataclass(frozen=True)
class Rerun:
    """A command to rerun jobs.

    Parameters
    ----------
    db
        The queue database.
    policy
        How locks are taken.
    force
        Whether to rerun a job in any state, and regardless of the states of its dependents. Otherwise only jobs that
        are in progress, or failed without any child having started, are rerun.
    delete_files
        Whether to remove the run directories of the job and its dependents when they are uploaded again.
    end_process
        Stops what the job may have left running; called while the job is locked, before it can start again.
    """

    db: QueueDatabase
    policy: LockPolicy
    force: bool = False
    delete_files: bool = True
    end_process: Callable[[JobInfo], None] = lambda _job: None

    def of(self, db_id: str) -> list[str]:
        """Set a job to READY, and the jobs that depend on it to WAITING.

        Returns
        -------
        list of str
            The db_ids of the jobs whose state was changed, the job itself last.

        Raises
        ------
        NotFound
            There is no such job.
        NotAllowed
            Rerunning it would make the flow inconsistent; the message gives the reason.
        JobLockedError, FlowLockedError
            Another process still held a lock after the waiting time; nothing was changed.
        """
        with self.policy.job(self.db, db_id) as (lock, job):
            self._check(job)
            if job.state in _ON_ITS_WAY:
                self.end_process(job)
                self._reset(lock, JobState.READY)
                return [db_id]
            with self.policy.flow_of(self.db, job) as flow_uuid, ExitStack() as children:
                held = list(self._held_back(job, children))
                pending = {_id_of(lock): JobState.READY, **{id_: JobState.WAITING for id_, _ in held}}
                update_flow_state(self.db, flow_uuid, pending=pending)
                self.end_process(job)
                self._reset(lock, JobState.READY)
                # Before the flow is unlocked, and the job last: until then none of these jobs can start.
                children.close()
                lock.release()
        return [*(child.db_id for _, child in held if child.state is not JobState.WAITING), db_id]

    def _check(self, job: JobInfo) -> None:
        if job.state in (JobState.READY, JobState.WAITING):
            raise NotAllowed(f"job {job.db_id} is {job.state.name} and has not run yet; there is nothing to rerun")
        if self._is_replaced(job.uuid, job.index):
            raise NotAllowed(f"job {job.db_id} has been replaced by other jobs and cannot be rerun")
        if self.force or job.state in (*_ON_ITS_WAY, *_ENDED_BADLY):
            return
        if job.state in _IN_POOL:
            raise NotAllowed(
                f"job {job.db_id} is {job.state.name}: a batch may have taken it, and it would run twice; if no batch "
                "has, rerun it with --force"
            )
        raise NotAllowed(f"job {job.db_id} is {job.state.name}; to rerun it anyway, use --force")

    def _held_back(self, job: JobInfo, children: ExitStack) -> Iterator[tuple[Any, JobInfo]]:
        """Lock the dependents of a job, to become WAITING on release; yield the `_id` and the old state of each."""
        for db_id in self._dependents(job):
            lock, child = children.enter_context(self.policy.job(self.db, db_id))
            if child.state is JobState.PAUSED:
                # The user has paused it, and only the user resumes it.
                continue
            if not self.force and child.state not in (JobState.READY, JobState.WAITING):
                raise NotAllowed(
                    f"job {job.db_id} cannot be rerun: job {child.db_id} depends on it and is already "
                    f"{child.state.name}; to rerun both, use --force"
                )
            # One that waits has no files of a later run than the files that are to be removed already.
            self._reset(lock, JobState.WAITING, cleanup=child.state is not JobState.WAITING)
            yield _id_of(lock), child

    def _dependents(self, job: JobInfo) -> Iterator[str]:
        """Yield the db_ids of the children of a job or, with `force`, of all its dependents, each once."""
        seen, parents = {job.uuid}, [job.uuid]
        while parents:
            for child in self.db.jobs.find({"parents": parents.pop()}, {"uuid": 1, "index": 1, "db_id": 1}):
                if self._is_replaced(child["uuid"], child["index"]):
                    raise NotAllowed(
                        f"job {job.db_id} cannot be rerun: job {child['db_id']} depends on it and has been replaced by "
                        "other jobs"
                    )
                if child["uuid"] not in seen:
                    seen.add(child["uuid"])
                    if self.force:
                        parents.append(child["uuid"])
                    yield child["db_id"]

    def _is_replaced(self, uuid: str, index: int) -> bool:
        later = {"uuid": uuid, "index": {"$gt": index}}
        return self.db.jobs.find_one(later, {"_id": 1}) is not None

    def _reset(self, lock: MongoLock, state: JobState, *, cleanup: bool = True) -> None:
        removal = {"remote.prerun_cleanup": True} if self.delete_files and cleanup else {}
        lock.update_on_release = {"$set": {**UNTOUCHED, **removal, "state": state.value, "updated_on": utcnow()}}


def _id_of(lock: MongoLock) -> Any:
    return (lock.locked_document or {})["_id"]
