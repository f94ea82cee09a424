"""`Runner`: the interface of jobflow-remote's runner, a thin layer over the steps and the loop."""

from __future__ import annotations

import getpass
import logging
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property, partial
from typing import TYPE_CHECKING

from jfr_mp import logs
from jfr_mp.api.controller import JobController
from jfr_mp.api.interactive import log_in_everywhere
from jfr_mp.api.runner_batches import BatchMethods, BatchPieces
from jfr_mp.api.runner_steps import RunnerEngine
from jfr_mp.bus.paths import warm_path
from jfr_mp.config import ConfigManager, LogLevel, Project, RunnerOptions
from jfr_mp.config.workers import WorkerBase
from jfr_mp.database.batches import batches_live
from jfr_mp.database.filters import JobFilter, is_empty
from jfr_mp.database.locks import MongoLock
from jfr_mp.database.news import News
from jfr_mp.database.output_files import OutputFiles
from jfr_mp.database.queries import anything_moves, count_jobs, flow_store_name, jobs_info, store_name_of
from jfr_mp.engine.lane_plan import open_lanes, plans_of
from jfr_mp.engine.lanes import Lanes
from jfr_mp.engine.limits import WorkerLimits
from jfr_mp.engine.loop import Loop, Task
from jfr_mp.engine.tasks import LaneTasks
from jfr_mp.engine.traces import open_traces
from jfr_mp.engine.wakeups import LocalWakeups
from jfr_mp.execution.warm.control import retire
from jfr_mp.hosts import BaseHost
from jfr_mp.identity import host_name, new_owner
from jfr_mp.membership.member import Member
from jfr_mp.model import JobInfo
from jfr_mp.outcomes import Outcome
from jfr_mp.schedulers import QueueManager
from jfr_mp.states import FINAL_STATES, JobState
from jfr_mp.step_table import BATCH, CHECKOUT, COMPLETE, DOWNLOAD, POLL, STEPS, SUBMIT, UPLOAD, Role, Step, wake_states
from jfr_mp.steps.services import Services, StepFunction

if TYPE_CHECKING:
    from jobflow import JobStore

logger = logging.getLogger(__name__)

#: The length of one tick of `Runner.run`, in seconds.
TICK = 1.0

#: Seconds between two checks whether the jobs that `run_all_jobs` and `run_one_job` wait for have ended.
_GLANCE = 0.1

#: The states in which the runner does not wait for a job any more, because only the user can move it.
_AT_REST = (*FINAL_STATES, JobState.REMOTE_ERROR, JobState.PAUSED, JobState.WAITING)


class Runner(BatchMethods):
    """Run jobs in this process.

    Members, signatures and meanings are those of jobflow-remote's Runner. The role processes of a master run the same
    steps in the same loop.

    Parameters
    ----------
    project_name
        The project; None for the project chosen in the settings.
    log_level
        The log level; None for the level of the project.
    runner_id
        The identity of this runner, which its locks name; None for a name with host and process id.
    connect_interactive
        Whether to log in now, in this terminal, to the hosts with an interactive login.
    daemon_id
        What `ping_running_runner` stores about the daemon that this runner belongs to.

    Raises
    ------
    ConfigError
        The project or one of its files is not valid.
    DatabaseError
        The queue database does not answer or refused the connection.
    """

    def __init__(
        self,
        project_name: str | None = None,
        log_level: LogLevel | None = None,
        runner_id: str | None = None,
        connect_interactive: bool = False,
        daemon_id: str | None = None,
    ) -> None:
        self.config_manager = ConfigManager()
        self.project: Project = self.config_manager.get_project(project_name)
        self.project_name = self.project.name
        self.runner_id = runner_id or new_owner()
        self.daemon_id = daemon_id
        logs.configure((log_level or self.project.log_level).to_logging(), "runner")
        self.job_controller = JobController.from_project(self.project)
        self.workers: Mapping[str, WorkerBase] = self.project.workers
        self._db = self.job_controller.db
        self._services = Services(
            self.project, partial(store_name_of, self._db), self._holds_lease_since, OutputFiles(self._db)
        )
        if connect_interactive:
            log_in_everywhere(self.project)
        self._member: Member | None = None
        self._wakeups = LocalWakeups()
        self._traces = open_traces(self.project, "runner")
        self._engine = RunnerEngine(self._db, self._services, self.runner_id, self, traces=self._traces)
        self._steps = self._engine.steps(self._wakeups)
        self._limits = WorkerLimits(self.project, self._db, self._services.places)

    @cached_property
    def _all_lanes(self) -> list[LaneTasks]:
        """The tasks of all roles for all jobs, to be run in one thread."""
        return self._lanes_of(JobFilter())

    @cached_property
    def _batch_pieces(self) -> BatchPieces:
        return BatchPieces(self._db, self._services.site, partial(self._write, BATCH))

    def _write(self, step: Step, seen: Sequence[tuple[JobInfo, Outcome | StepFunction]]) -> set[str]:
        return {result.db_id for result in self._steps.write(step, seen)}

    def _lanes_of(self, jobs: JobFilter) -> list[LaneTasks]:
        plans = [(role, plan) for role in Role for plan in plans_of(role, self._services.connections, jobs)]
        return [LaneTasks(role, self._steps, self._wakeups, plan.jobs, plan.breaker) for role, plan in plans]

    @property
    def runner_options(self) -> RunnerOptions:
        """The runner options of the project."""
        return self.project.runner

    def handle_signal(self, signum, frame) -> None:  # type: ignore[no-untyped-def]  # the reference leaves it open
        """Stop after the current step."""
        self._wakeups.request_stop()

    def get_worker(self, worker_name: str) -> WorkerBase:
        """Return the configuration of a worker, or raise a `ConfigError` that lists the known workers."""
        return self.project.worker(worker_name)

    def get_host(self, worker_name: str) -> BaseHost:
        """Return the connected host of a worker; workers on the same host share it."""
        return self._services.site(worker_name).host

    def get_queue_manager(self, worker_name: str) -> QueueManager:
        """Return the scheduler of a worker on its host."""
        return self._services.site(worker_name).scheduler

    def run(
        self,
        transfer: bool = True,
        complete: bool = True,
        queue: bool = True,
        checkout: bool = True,
        ticks: int | None = None,
    ) -> None:
        """Run until stopped by SIGTERM, SIGINT or `handle_signal`.

        Parameters
        ----------
        transfer, complete, queue, checkout
            Whether to run the role.
        ticks
            Seconds after which to stop; None for no limit. (A tick of jobflow-remote lasts one second.)
        """
        wanted = {Role.CHECKOUT: checkout, Role.TRANSFER: transfer, Role.QUEUE: queue, Role.COMPLETE: complete}
        roles = tuple(role for role, chosen in wanted.items() if chosen)
        lanes = Lanes(self._wakeups)
        open_lanes(lanes, roles, self._engine)
        until = float("inf") if ticks is None else time.monotonic() + ticks * TICK
        logger.info("running the roles %s", ", ".join(roles))
        news = News(self._db, wake_states(roles), lanes.deliver)
        with self._present(roles), self._stopped_by_signals(), news:
            lanes.run(until)

    @contextmanager
    def _present(self, roles: tuple[Role, ...] = tuple(Role)) -> Iterator[None]:
        """Register this runner and keep its heartbeat going, so that its locks are respected."""
        self._services.places.prepare()
        places = self._services.places.seen()
        with Member.role_process(self._db, self.runner_id, "runner", roles, places) as self._member:
            yield
        self._member = None

    def _holds_lease_since(self, moment: float) -> bool:
        """Return whether this runner has held its locks since a monotonic time; outside of a run there is no lease."""
        return self._member is None or self._member.holds_since(moment)

    @contextmanager
    def _stopped_by_signals(self) -> Iterator[None]:
        """Let SIGTERM and SIGINT stop the loop after its current step."""
        previous = {number: signal.signal(number, self.handle_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def run_all_jobs(self, max_seconds: int | None = None, wait_for_batches: bool = False) -> None:
        """Run until no job is left that can move.

        Parameters
        ----------
        max_seconds
            The maximum number of seconds; None for no limit.
        wait_for_batches
            Whether to run until all batches have ended, too.

        Raises
        ------
        RuntimeError
            Jobs, or batches, are left after `max_seconds`.
        """

        def done() -> bool:
            return not anything_moves(self._db, _AT_REST) and not (wait_for_batches and batches_live(self._db))

        if not self._run_until(_tasks(self._all_lanes), done, max_seconds):
            raise RuntimeError(f"not all jobs{' and batches' * wait_for_batches} ended within {max_seconds} s")

    def run_one_job(
        self,
        db_id: str | None = None,
        job_id: tuple[str, int] | None = None,
        max_seconds: int | None = None,
        raise_at_timeout: bool = True,
        target_state: JobState | None = None,
    ) -> bool:
        """Run one job until it is in a terminal state, or in a given one; other jobs are not touched.

        Parameters
        ----------
        db_id, job_id
            The job, by its db_id or by its uuid and index; None for the next READY job.
        max_seconds
            The maximum number of seconds; None for no limit.
        raise_at_timeout
            Whether to raise, rather than return False, if the job did not end in time.
        target_state
            The state in which to leave the job; None for any terminal state.

        Returns
        -------
        bool
            Whether the job ended, or is in the given state; False also if no job is READY.

        Raises
        ------
        RuntimeError
            The job did not end within `max_seconds`, or ended without being in the given state.
        """
        only = JobFilter.of(db_ids=db_id, job_ids=job_id)
        if is_empty(only):
            checked_out = self._steps.advance(CHECKOUT, only, limit=1).results
            if not checked_out:
                return False
            only = JobFilter(db_ids=(checked_out[0].db_id,))
        ended = replace(only, states=(*_AT_REST, *([target_state] if target_state else ())))
        tasks = _tasks(self._lanes_of(only), target_state)
        done = self._run_until(tasks, lambda: count_jobs(self._db, ended) > 0, max_seconds)
        if not done and raise_at_timeout:
            raise RuntimeError(f"the job did not end within {max_seconds} s")
        if done and target_state:
            self._require_state(only, target_state)
        return done

    def _require_state(self, only: JobFilter, state: JobState) -> None:
        found = jobs_info(self._db, only)[0]
        if found.state is not state:
            raise RuntimeError(f"job {found.db_id} is {found.state.value} and never was {state.value} when it was seen")

    def _run_until(self, tasks: Sequence[Task], done: Callable[[], bool], max_seconds: float | None) -> bool:
        """Run tasks until `done` returns True, or for `max_seconds`; return whether it did."""
        wakeups = self._wakeups
        until = float("inf") if max_seconds is None else time.monotonic() + max_seconds
        with self._present():
            while not done():
                if time.monotonic() >= until or wakeups.stop_requested:
                    return False
                Loop(tasks, wakeups).run(min(until, time.monotonic() + _GLANCE))
        return True

    def checkout(self) -> None:
        """Check out all READY jobs."""
        while self._steps.advance(CHECKOUT).more:
            pass

    def advance_state(self, states: list[str], filter: dict | None = None) -> None:  # type: ignore[type-arg]
        """Perform the next step of all jobs in some states, until no such job is left.

        The loop of `run` calls this method for one job at a time.

        Parameters
        ----------
        states
            Values of `JobState`.
        filter
            Further conditions on the job documents.
        """
        self._steps.advance_states({JobState(state) for state in states}, filter)

    def upload(self, lock: MongoLock) -> None:
        """Upload the files of a locked CHECKED_OUT job; afterwards it is UPLOADED and unlocked."""
        self._steps.finish_lock(lock, UPLOAD)

    def submit(self, lock: MongoLock) -> None:
        """Submit a locked UPLOADED job; afterwards it is SUBMITTED and unlocked."""
        self._steps.finish_lock(lock, SUBMIT)

    def download(self, lock) -> None:  # type: ignore[no-untyped-def]  # the reference leaves it open
        """Download the output of a locked RUN_FINISHED job; afterwards it is DOWNLOADED and unlocked."""
        self._steps.finish_lock(lock, DOWNLOAD)

    def complete_job(self, lock) -> None:  # type: ignore[no-untyped-def]  # the reference leaves it open
        """Complete a locked DOWNLOADED job; afterwards it is COMPLETED or FAILED, and unlocked."""
        self._steps.finish_lock(lock, COMPLETE)

    def check_run_status(self, filter: dict | None = None) -> None:  # type: ignore[type-arg]
        """Ask the schedulers for all submitted jobs, and store which of them are running or have ended.

        Parameters
        ----------
        filter
            Further conditions on the job documents.
        """
        self._ask(POLL, JobFilter(further=filter or {}))

    def _ask(self, step: Step, jobs: JobFilter) -> None:
        for lane in self._all_lanes:
            if step in lane.surveys:
                lane.surveys[step].ask(jobs)

    def refresh_num_current_jobs(self) -> None:
        """Count the submitted jobs of the workers that have a `max_jobs`."""
        self._limits.refresh()

    def update_batch_jobs(self, submit: bool = True) -> None:
        """Process the batch workers.

        The states of the jobs in their pools are updated from the markers. A job whose batch ended too early returns to
        the pool. As many batches are submitted as the waiting jobs need.

        Parameters
        ----------
        submit
            Whether to submit batches.
        """
        if submit:
            self._ask(BATCH, JobFilter())
            return
        for name, worker in self.workers.items():
            if worker.is_batch:
                self._batch_pieces.update_status(name)

    def get_jobstore(self, flow_id: str | None) -> JobStore:
        """Return the connected JobStore for the outputs of a flow; None for the default one."""
        name = flow_store_name(self._db, flow_id) if flow_id else None
        return self.job_controller.optional_jobstores[name] if name else self.job_controller.jobstore

    def ping_running_runner(self, run_options: dict | None = None) -> None:  # type: ignore[type-arg]
        """Record in the database that this runner is alive.

        Parameters
        ----------
        run_options
            What to store about its options.
        """
        found, _ = self.job_controller.ping_running_runner(
            {
                "daemon_id": self.daemon_id,
                "runner_id": self.runner_id,
                "project_name": self.project_name,
                "hostname": host_name(),
                "run_options": run_options,
                "user": getpass.getuser(),
                "daemon_dir": self.project.daemon_dir,
            }
        )
        if not found:
            logger.info("the database has no record of a running runner, so that only the ping was stored")

    def cleanup(self) -> None:
        """Close every connection, and let the warm servers of this machine exit when their jobs have ended."""
        retire(warm_path(self.project))
        self._services.close()
        self._traces.close()
        self.job_controller.close()


def _tasks(lanes: Iterable[LaneTasks], last: JobState | None = None) -> list[Task]:
    """Return the tasks of some lanes, except the tasks that would move a job on from its `last` state."""
    beyond = {step.name for step in STEPS if last in step.sources and last not in step.targets}
    return [task for lane in lanes for task in lane.tasks if task.name.split()[0] not in beyond]
