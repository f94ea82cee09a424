"""`Runner`: the reference interface of jobflow-remote's runner, a thin face over the steps and the loop."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from jfr_mp import logs, step_table
from jfr_mp.api.controller import JobController
from jfr_mp.config import ConfigManager, LogLevel, Project, RunnerOptions
from jfr_mp.config.workers import WorkerBase
from jfr_mp.database.locks import MongoLock
from jfr_mp.engine.heartbeat import HeartbeatThread
from jfr_mp.engine.lane_plan import open_lanes
from jfr_mp.engine.lanes import Lanes
from jfr_mp.engine.loop import Loop, Task
from jfr_mp.engine.step_runner import StepRunner
from jfr_mp.engine.tasks import Tasks
from jfr_mp.engine.wakeups import LocalWakeups
from jfr_mp.hosts import BaseHost
from jfr_mp.hosts.login.terminal import log_in, logins
from jfr_mp.identity import new_owner
from jfr_mp.outcomes import Blame, Retry
from jfr_mp.schedulers import QueueManager
from jfr_mp.states import FINAL_STATES, JobState
from jfr_mp.step_table import Role, Step
from jfr_mp.steps.services import Services

logger = logging.getLogger(__name__)

#: The length of one tick of `Runner.run`, in seconds.
TICK = 1.0

#: Seconds between two looks at whether the jobs that `run_all_jobs` and `run_one_job` wait for have ended.
_GLANCE = 0.1

#: A runner that waits for a job gives up on these: nothing but a person moves such a job.
_AT_REST = {state.value for state in (*FINAL_STATES, JobState.REMOTE_ERROR, JobState.PAUSED, JobState.WAITING)}

_CLAIMED_STEPS = (step_table.UPLOAD, step_table.SUBMIT, step_table.DOWNLOAD, step_table.COMPLETE)


class Runner:
    """Takes jobs through their life, in this process.

    Members, signatures and meanings are those of jobflow-remote's Runner. The role processes of a master run the same
    steps by the same loop.

    Parameters
    ----------
    project_name
        The project; None for the one of the settings.
    log_level
        How much is logged; None for the project's own level.
    runner_id
        What the locks of this runner are called; None for a name with host and process id.
    connect_interactive
        Whether to log in now, at the terminal, at the hosts that want a person for it.

    Raises
    ------
    ConfigError
        The project or one of its files is not valid.
    DatabaseError
        The queue database does not answer or refuses us.
    """

    def __init__(
        self,
        project_name: str | None = None,
        log_level: LogLevel | None = None,
        runner_id: str | None = None,
        connect_interactive: bool = False,
    ) -> None:
        self.config_manager = ConfigManager()
        self.project: Project = self.config_manager.get_project(project_name)
        self.project_name = self.project.name
        self.runner_id = runner_id or new_owner()
        logs.configure((log_level or self.project.log_level).to_logging(), "runner")
        self.job_controller = JobController.from_project(self.project)
        self.workers: Mapping[str, WorkerBase] = self.project.workers
        self._db = self.job_controller.db
        self._services = Services(self.project, self.job_controller.get_flow_store)
        if connect_interactive and self.project.has_interactive_workers:
            for endpoint in logins(self.project):
                log_in(endpoint, self.project)
        self._wakeups = LocalWakeups()
        self._advancer = StepRunner(self._db, self._services, self.runner_id, self._wakeups)
        self._tasks = Tasks(self._advancer, self._wakeups)

    @property
    def runner_options(self) -> RunnerOptions:
        """The options of the runner, from the project."""
        return self.project.runner

    def handle_signal(self, signum, frame) -> None:  # type: ignore[no-untyped-def]  # the reference leaves it open
        """Stop after the step in hand."""
        self._wakeups.request_stop()

    def get_worker(self, worker_name: str) -> WorkerBase:
        """Return the configuration of a worker; ConfigError names the known ones."""
        return self._services.worker(worker_name)

    def get_host(self, worker_name: str) -> BaseHost:
        """Return the connected host of a worker; workers on the same host share it."""
        return self._services.host(worker_name)

    def get_queue_manager(self, worker_name: str) -> QueueManager:
        """Return the scheduler of a worker, joined to its host."""
        return self._services.queue_manager(worker_name)

    def run(
        self,
        transfer: bool = True,
        complete: bool = True,
        queue: bool = True,
        checkout: bool = True,
        ticks: int | None = None,
    ) -> None:
        """Run until told to stop by SIGTERM, SIGINT or `handle_signal`.

        Parameters
        ----------
        transfer, complete, queue, checkout
            The roles to play.
        ticks
            Seconds after which to stop; None for never. (A tick of jobflow-remote lasts a second.)
        """
        wanted = {Role.CHECKOUT: checkout, Role.TRANSFER: transfer, Role.QUEUE: queue, Role.COMPLETE: complete}
        roles = tuple(role for role, chosen in wanted.items() if chosen)
        lanes = Lanes(self._wakeups)
        open_lanes(lanes, roles, self._db, self._services, self.runner_id)
        until = float("inf") if ticks is None else time.monotonic() + ticks * TICK
        logger.info("running the roles %s", ", ".join(roles))
        with self._present(roles), self._stopped_by_signals():
            lanes.run(until)

    def _present(self, roles: tuple[Role, ...] = tuple(Role)) -> HeartbeatThread:
        """Return the context in which the locks of this runner are those of a living process."""
        return HeartbeatThread(self._db, self.runner_id, "runner", roles)

    @contextmanager
    def _stopped_by_signals(self) -> Iterator[None]:
        """Let SIGTERM and SIGINT end the loop after the step in hand."""
        previous = {number: signal.signal(number, self.handle_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def run_all_jobs(self, max_seconds: int | None = None) -> None:
        """Run until no job is left that could move.

        Raises
        ------
        RuntimeError
            Jobs are left after `max_seconds`.
        """
        moving = {"state": {"$nin": sorted(_AT_REST)}}
        tasks = [task for role in Role for task in self._tasks.of_role(role)]
        if not self._run_until(tasks, lambda: not self._db.jobs.find_one(moving, projection=["_id"]), max_seconds):
            raise RuntimeError(f"not all jobs ended within {max_seconds} s")

    def run_one_job(
        self,
        db_id: str | None = None,
        job_id: tuple[str, int] | None = None,
        max_seconds: int | None = None,
        raise_at_timeout: bool = True,
    ) -> bool:
        """Run one job until it is in a terminal state, and touch no other.

        Parameters
        ----------
        db_id, job_id
            The job, by its id in the database or by uuid and index; None for the next one that is READY.
        max_seconds
            How long to try.
        raise_at_timeout
            Whether to raise when it did not end in time, rather than to return False.

        Returns
        -------
        bool
            Whether the job ended; False too where no job is READY.

        Raises
        ------
        RuntimeError
            The job did not end within `max_seconds`.
        """
        query: dict[str, Any] = {}
        if db_id:
            query["db_id"] = db_id
        if job_id:
            query["uuid"], query["index"] = job_id
        advanced = self._advancer.advance(step_table.CHECKOUT, query=query)
        if advanced is None and not query:
            return False
        only = {"db_id": advanced.db_id} if advanced else query
        tasks = [
            Task("steps", _GLANCE, lambda: self._advance_all(_CLAIMED_STEPS, only)),
            Task("journal", _GLANCE, lambda: self._tasks.polling.follow_journals(only)),
            Task("poll", 1.0, lambda: self.check_run_status(only)),
            Task("batch journal", _GLANCE, self._tasks.batching.follow_journals),
            Task("batch", 1.0, self.update_batch_jobs),
        ]
        ended = {**only, "state": {"$in": sorted(_AT_REST)}}
        done = self._run_until(tasks, lambda: bool(self._db.jobs.find_one(ended, projection=["_id"])), max_seconds)
        if not done and raise_at_timeout:
            raise RuntimeError(f"the job did not end within {max_seconds} s")
        return done

    def _run_until(self, tasks: list[Task], done: Callable[[], bool], max_seconds: float | None) -> bool:
        """Run tasks until `done` says so, or for `max_seconds`; tell whether it did."""
        wakeups = self._wakeups
        until = float("inf") if max_seconds is None else time.monotonic() + max_seconds
        with self._present():
            while not done():
                if time.monotonic() >= until or wakeups.stop_requested:
                    return False
                Loop(tasks, wakeups).run(min(until, time.monotonic() + _GLANCE))
        return True

    def checkout(self) -> None:
        """Check out every job that is READY."""
        while self._advancer.advance(step_table.CHECKOUT):
            pass

    def advance_state(self, states: list[str], filter: dict | None = None) -> None:  # type: ignore[type-arg]
        """Take the jobs in some states through their next step, until none of them is left.

        Parameters
        ----------
        states
            Values of `JobState`.
        filter
            Further conditions on the job documents.
        """
        sources = {JobState(state) for state in states}
        self._advance_all([step for step in _CLAIMED_STEPS if sources.intersection(step.sources)], filter or {})

    def _advance_all(self, steps: Iterable[Step], query: Mapping[str, Any]) -> None:
        while sum(self._advance_one(step, query) for step in steps):
            pass

    def _advance_one(self, step: Step, query: Mapping[str, Any]) -> bool:
        """Take one job through a step; False where none is left that it makes sense to try now."""
        excluded: tuple[str, ...] = ()
        if step is step_table.SUBMIT:
            self.refresh_num_current_jobs()
            excluded = self._tasks.limits.full_workers()
        advanced = self._advancer.advance(step, query=query, exclude_workers=excluded)
        if advanced and step is step_table.SUBMIT:
            self._tasks.watch(advanced)
        if advanced is None:
            return False
        # The job of a host that is away may be tried again at any time, so that trying would never end.
        return not (isinstance(advanced.outcome, Retry) and advanced.outcome.blame in (Blame.HOST, Blame.LOGIN))

    def upload(self, lock: MongoLock) -> None:
        """Upload the files of a locked job that is CHECKED_OUT; it is UPLOADED and unlocked then."""
        self._advancer.finish(lock, step_table.UPLOAD)

    def submit(self, lock: MongoLock) -> None:
        """Submit a locked job that is UPLOADED; it is SUBMITTED and unlocked then."""
        self._advancer.finish(lock, step_table.SUBMIT)

    def download(self, lock) -> None:  # type: ignore[no-untyped-def]  # the reference leaves it open
        """Download the output of a locked job that is RUN_FINISHED; it is DOWNLOADED and unlocked then."""
        self._advancer.finish(lock, step_table.DOWNLOAD)

    def complete_job(self, lock) -> None:  # type: ignore[no-untyped-def]  # the reference leaves it open
        """Complete a locked job that is DOWNLOADED; it is COMPLETED or FAILED and unlocked then."""
        self._advancer.finish(lock, step_table.COMPLETE)

    def check_run_status(self, filter: dict | None = None) -> None:  # type: ignore[type-arg]
        """Ask the schedulers for all submitted jobs and write which of them run or have ended.

        Parameters
        ----------
        filter
            Further conditions on the job documents.
        """
        self._tasks.polling.ask_schedulers(filter)

    def refresh_num_current_jobs(self) -> None:
        """Count the submitted jobs of the workers that have a `max_jobs`."""
        self._tasks.limits.refresh()

    def update_batch_jobs(self) -> None:
        """Look after the batch workers.

        The jobs in their pools get the states that the markers there tell, a job whose batch ended too early waits
        again, and as many batches are submitted as the jobs that wait need.
        """
        self._tasks.batching.update()

    def cleanup(self) -> None:
        """Close every connection."""
        self._services.close()
        self.job_controller.close()
