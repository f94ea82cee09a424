"""The tasks of a lane: what its loop does for a role, and for the jobs of one host."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from jfr_mp import step_table
from jfr_mp.batch.rounds import Batching
from jfr_mp.config import Project
from jfr_mp.database.leases import Lease
from jfr_mp.engine.limits import WorkerLimits
from jfr_mp.engine.loop import Task
from jfr_mp.engine.polling import Polling
from jfr_mp.engine.step_runner import StepResult, StepRunner
from jfr_mp.engine.wakeups import Wakeups
from jfr_mp.errors import HostUnreachable, LoginNeeded
from jfr_mp.model import Condition
from jfr_mp.outcomes import Advance, Blame, Retry
from jfr_mp.states import JobState
from jfr_mp.step_table import Kind, Role, Step, steps_of
from jfr_mp.steps.circuit_breaker import CircuitBreaker

logger = logging.getLogger(__name__)

#: Seconds before a scheduler is asked again in whose answer a job was missing.
_DOUBT = 1.0


def interval(step: Step, project: Project) -> float:
    """Return the longest time, in seconds, between two looks of a step for work.

    A look for claimable jobs is one indexed query, so `probe_interval` shortens it below the project's own delay. A
    survey asks a scheduler and keeps the project's delay.
    """
    delay = float(getattr(project.runner, step.interval))
    return delay if step.kind is Kind.SURVEY else min(delay, project.jfr_mp.probe_interval)


class Tasks:
    """Makes tasks.

    Parameters
    ----------
    advancer
        Moves the jobs.
    wakeups
        Where the news of each move goes.
    query
        Which jobs these tasks are for; None for all.
    health
        The breaker of the host of these jobs; None where the tasks concern no host.
    lease
        Without it the tasks rest; None where any number of processes may do the same.
    """

    def __init__(
        self,
        advancer: StepRunner,
        wakeups: Wakeups,
        query: Mapping[str, Any] | None = None,
        health: CircuitBreaker | None = None,
        lease: Lease | None = None,
    ) -> None:
        self._advancer = advancer
        self._wakeups = wakeups
        self._query = dict(query or {})
        self._health = health
        self._lease = lease
        self._project = advancer.services.project
        self.polling = Polling(advancer, self._announce, lambda why: wakeups.report(Condition(last_error=why)))
        self.batching = Batching(advancer, self._announce)
        self.limits = WorkerLimits(self._project, advancer.db)

    def of_role(self, role: Role) -> list[Task]:
        """Return the tasks of a role, in the order in which a job meets them."""
        tasks = [task for step in steps_of(role) for task in self._of_step(step)]
        return [replace(task, run=partial(self._with_lease, task.run)) for task in tasks]

    def _with_lease(self, run: Callable[[], float | None]) -> float | None:
        if self._lease is None or self._lease.held():
            return run()
        return self._project.jfr_mp.probe_interval

    def _of_step(self, step: Step) -> list[Task]:
        every = interval(step, self._project)
        if step is step_table.POLL:
            probe = self._project.jfr_mp.probe_interval
            return [
                Task("poll", every, self._ask_schedulers),
                Task("journal", probe, self._follow_journals, frozenset({JobState.SUBMITTED})),
            ]
        if step is step_table.BATCH:
            return self._of_batches(every)
        run = self._submit if step is step_table.SUBMIT else partial(self._advance, step)
        return [Task(step.name, every, run, frozenset(step.sources))]

    def _of_batches(self, every: float) -> list[Task]:
        if not any(worker.is_batch for worker in self._project.workers.values()):
            return []
        wakes = frozenset({JobState.BATCH_SUBMITTED})
        return [
            Task("batch", every, self._look_after_batches, wakes),
            Task("batch journal", self._project.jfr_mp.probe_interval, self._follow_batches, wakes),
        ]

    def _advance(self, step: Step) -> float | None:
        """Move one job; 0 while there was one, because the next may be waiting."""
        if pause := self._pause():
            return pause
        advanced = self._advancer.advance(step, query=self._query)
        return self._moved(advanced)

    def _submit(self) -> float | None:
        """Submit one job of a worker that may have more."""
        if pause := self._pause():
            return pause
        self.limits.refresh()
        full = self.limits.full_workers()
        advanced = self._advancer.advance(step_table.SUBMIT, query=self._query, exclude_workers=full)
        if advanced is not None:
            self.watch(advanced)
        return self._moved(advanced)

    def watch(self, advanced: StepResult) -> None:
        """Begin to watch the worker of a job, if the job was submitted."""
        if not isinstance(advanced.outcome, Advance):
            return
        follower = self.batching if self._project.worker(advanced.worker).is_batch else self.polling
        follower.submitted(advanced.worker)

    def _ask_schedulers(self) -> float | None:
        if pause := self._pause():
            return pause
        try:
            doubts = self.polling.ask_schedulers(self._query)
        except HostUnreachable as error:
            return self._host_failed(str(error), wants_login=isinstance(error, LoginNeeded))
        self._host_worked() if self.polling.anything_submitted else self._host_skipped()
        return _DOUBT if doubts else None

    def _follow_journals(self) -> float | None:
        if not self.polling.anything_submitted or (self._health and self._health.outage):
            return None
        self.polling.follow_journals()
        return self._project.jfr_mp.journal_interval

    def _look_after_batches(self) -> float | None:
        if pause := self._pause():
            return pause
        try:
            again = self.batching.update(self._query)
        except HostUnreachable as error:
            return self._host_failed(str(error), wants_login=isinstance(error, LoginNeeded))
        self._host_worked() if self.batching.anything_submitted else self._host_skipped()
        return again

    def _follow_batches(self) -> float | None:
        if not self.batching.anything_submitted or (self._health and self._health.outage):
            return None
        try:
            self.batching.follow_journals()
        except HostUnreachable as error:
            return self._host_failed(str(error), wants_login=isinstance(error, LoginNeeded))
        return self._project.jfr_mp.journal_interval

    def _moved(self, advanced: StepResult | None) -> float | None:
        """Say what came of an advance; return the seconds until the next."""
        if advanced is None:
            self._host_skipped()
            return None
        self._announce(advanced)
        if isinstance(advanced.outcome, Retry):
            if advanced.outcome.blame in (Blame.HOST, Blame.LOGIN):
                return self._host_failed(advanced.outcome.why, wants_login=advanced.outcome.blame is Blame.LOGIN)
        else:
            self._host_worked()
        return 0.0

    def _announce(self, advanced: StepResult) -> None:
        for state in advanced.states:
            self._wakeups.publish(state, advanced.worker, advanced.db_id)
        if self.limits and JobState.RUNNING not in advanced.states:
            # A job that left the scheduler makes room for one that waits.
            self._wakeups.publish(JobState.UPLOADED, advanced.worker, advanced.db_id)

    def _pause(self) -> float:
        """Return the seconds for which the host is to be left alone."""
        return self._health.pause() if self._health else 0.0

    def _host_failed(self, why: str, *, wants_login: bool) -> float:
        """Leave the host alone for a while; return for how long."""
        if self._health is None:
            return 0.0
        if self._health.failed(why, wants_login=wants_login):
            logger.warning("the host of %s is away, its jobs wait: %s", self._health.host, why)
        self._wakeups.report(Condition(outages=self._advancer.services.outages()))
        return self._health.pause()

    def _host_skipped(self) -> None:
        """Leave it to another task to try the host: this one has no job there now."""
        if self._health:
            self._health.skipped()

    def _host_worked(self) -> None:
        if self._health and self._health.worked():
            logger.info("the host of %s is back", self._health.host)
            self._wakeups.report(Condition(outages=self._advancer.services.outages()))
