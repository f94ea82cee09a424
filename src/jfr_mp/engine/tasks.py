"""The tasks of a lane: the work that its loop does for a role and the jobs of one host."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

from jfr_mp.config import Project
from jfr_mp.database.filters import JobFilter
from jfr_mp.database.leases import Lease
from jfr_mp.database.paused_workers import PausedWorkers
from jfr_mp.engine.limits import WorkerLimits
from jfr_mp.engine.loop import Task
from jfr_mp.engine.step_runner import StepResult, StepRunner
from jfr_mp.engine.surveys import Survey
from jfr_mp.engine.wakeups import Wakeups
from jfr_mp.errors import HostUnreachable, LoginNeeded
from jfr_mp.model import Condition, JobInfo
from jfr_mp.outcomes import Blame, Outcome, Retry
from jfr_mp.sites.circuit_breaker import CircuitBreaker
from jfr_mp.states import JobState
from jfr_mp.step_table import SUBMIT, Kind, Role, Step, step_from, steps_of
from jfr_mp.steps.services import StepFunction

logger = logging.getLogger(__name__)


def interval(step: Step, project: Project) -> float:
    """Return the longest time between two searches of a step for work, in seconds.

    Searching for jobs to claim is one indexed query, so `probe_interval` may shorten the delay in the project. A survey
    asks a scheduler and keeps the delay in the project.
    """
    delay = float(getattr(project.runner, step.interval))
    return delay if step.kind is Kind.SURVEY else min(delay, project.jfr_mp.probe_interval)


class LaneTasks:
    """The tasks of a role for some jobs, in the order in which a job meets them.

    Parameters
    ----------
    role
        The role.
    steps
        The step runner that moves the jobs.
    wakeups
        Publishes the new state of each job that was moved.
    jobs
        The jobs that these tasks are for; None for all.
    breaker
        The circuit breaker of the host of these jobs; None if the tasks do not access a host.
    lease
        The tasks run only while this lease is held; None if any number of processes may run them.

    Attributes
    ----------
    tasks : list of Task
        The tasks for a loop.
    surveys : dict of Step to Survey
        The surveys among the steps.
    """

    def __init__(
        self,
        role: Role,
        steps: StepRunner,
        wakeups: Wakeups,
        jobs: JobFilter | None = None,
        breaker: CircuitBreaker | None = None,
        lease: Lease | None = None,
    ) -> None:
        self._steps = steps
        self._wakeups = wakeups
        self._jobs = jobs or JobFilter()
        self._breaker = breaker
        self._lease = lease
        self._project = steps.services.project
        self._paused = PausedWorkers(steps.db)
        self._limits = WorkerLimits(self._project, steps.db, steps.services.places)
        self.surveys: dict[Step, Survey] = {}
        self.tasks: list[Task] = [task for step in steps_of(role) for task in self._of_step(step)]

    def _of_step(self, step: Step) -> Iterator[Task]:
        every, wakes = interval(step, self._project), frozenset(step.wakes or step.sources)
        # If the server announces changes, a search finds only what was to be done at a certain time.
        longest = self._project.jfr_mp.idle_probe_interval if self._steps.db.supports_transactions else None
        if step.kind is Kind.CLAIM:
            yield Task(step.name, every, partial(self._visit, partial(self._advance, step)), wakes, longest)
            return
        kind = step.load()
        if not kind.concerns(self._project):
            return
        survey: Survey = kind(
            self._steps.db, self._steps.services.site, partial(self._write, step), self._report_silence
        )
        self.surveys[step] = survey
        # A change is seen in the journal; to ask the scheduler because of each would be a load on both.
        ask = partial(self._visit, partial(self._ask, step, survey))
        yield Task(step.name, every, ask, frozenset(step.sources), longest, at_once=False)
        follow = partial(self._follow, step, survey)
        yield Task(f"{step.name} journal", self._project.jfr_mp.probe_interval, follow, wakes, longest)

    # The turns of the tasks: each method returns the seconds until the next turn, or None for the interval.

    def _visit(self, work: Callable[[], float | None]) -> float | None:
        """Do a piece of work on the host, unless another process holds the lease or the breaker is open."""
        if self._lease is not None and not self._lease.held():
            return self._project.jfr_mp.probe_interval
        if self._breaker is not None and (pause := self._breaker.pause()):
            return pause
        try:
            return work()
        except HostUnreachable as error:
            return self._host_failed(str(error), wants_login=isinstance(error, LoginNeeded))

    def _advance(self, step: Step) -> float | None:
        """Move the next jobs; return 0 if more may be waiting, and None if there was nothing to do."""
        paused = self._paused.names() if step.begins else ()
        jobs, limit = self._within_reach(step).without_workers(paused), None
        if step.respects_max_jobs:
            self._limits.refresh()
            jobs, limit = jobs.without_workers(self._limits.full_workers()), self._limits.room
        done = self._steps.advance(step, jobs, limit=limit)
        if not done.results:
            self._host_skipped()
            # No event announces that a worker is resumed.
            nothing = self._project.jfr_mp.probe_interval if paused else None
            return 0.0 if done.more else nothing
        for result in done.results:
            self._announce(step, result)
        if pause := self._judge_host(done.results):
            return pause
        return 0.0 if done.more else self._next_look(step, done.results)

    def _next_look(self, step: Step, results: Sequence[StepResult]) -> float:
        """Return the seconds until a step looks for work again: until the first of its jobs is to be retried."""
        delays = [result.outcome.delay for result in results if isinstance(result.outcome, Retry)]
        return min([interval(step, self._project), *(delay for delay in delays if delay is not None)])

    def _ask(self, step: Step, survey: Survey) -> float | None:
        with self._steps.services.in_hand.of(step):
            again = survey.ask(self._within_reach(step))
        if not survey.has_work:
            self._host_skipped()
            return again
        self._host_worked()
        return interval(step, self._project) if again is None else again

    def _follow(self, step: Step, survey: Survey) -> float | None:
        if not survey.has_work or (self._breaker and self._breaker.outage):
            return None
        if self._lease is not None and not self._lease.held():
            return None
        try:
            with self._steps.services.in_hand.of(step):
                survey.follow(self._within_reach(step))
        except HostUnreachable as error:
            return self._host_failed(str(error), wants_login=isinstance(error, LoginNeeded))
        return self._project.jfr_mp.journal_interval

    def _within_reach(self, step: Step) -> JobFilter:
        """Return the jobs whose files this process can use; no job begins on a machine on which it cannot go on."""
        services = self._steps.services
        if step.placed:
            return replace(self._jobs, places=services.places.seen())
        return self._jobs.without_workers(services.unserved_workers()) if step.places else self._jobs

    # The results

    def _write(self, step: Step, seen: Sequence[tuple[JobInfo, Outcome | StepFunction]]) -> set[str]:
        written = self._steps.write(step, seen)
        for result in written:
            self._announce(step, result)
        return {result.db_id for result in written}

    def _announce(self, step: Step, result: StepResult) -> None:
        for state in result.states:
            self._wakeups.publish(state)
            follower = step_from(state)
            if follower in self.surveys:
                self.surveys[follower].watch(self._steps.services.site(result.worker))
        if self._limits and step.kind is Kind.SURVEY and JobState.RUNNING not in result.states:
            # A job that has left the scheduler makes room for a waiting job.
            self._wakeups.publish(SUBMIT.sources[0])

    def _report_silence(self, why: str) -> None:
        self._wakeups.report(Condition(last_error=why))

    def _judge_host(self, results: Sequence[StepResult]) -> float:
        """Record whether the host worked; return the seconds until the next turn."""
        outcomes = [result.outcome for result in results]
        for outcome in outcomes:
            if isinstance(outcome, Retry) and outcome.blame in (Blame.HOST, Blame.LOGIN):
                return self._host_failed(outcome.why, wants_login=outcome.blame is Blame.LOGIN)
        if not all(isinstance(outcome, Retry) for outcome in outcomes):
            self._host_worked()
        return 0.0

    def _host_failed(self, why: str, *, wants_login: bool) -> float:
        """Open the breaker of the host; return the seconds until the next attempt."""
        if self._breaker is None:
            return 0.0
        if self._breaker.failed(why, wants_login=wants_login):
            logger.warning("the host of %s is unreachable, its jobs wait: %s", self._breaker.host, why)
        self._wakeups.report(Condition(outages=self._steps.services.outages()))
        return self._breaker.pause()

    def _host_skipped(self) -> None:
        """Let another task try the host, because this one has no job for it now."""
        if self._breaker:
            self._breaker.skipped()

    def _host_worked(self) -> None:
        if self._breaker and self._breaker.worked():
            logger.info("the host of %s is reachable again", self._breaker.host)
            self._wakeups.report(Condition(outages=self._steps.services.outages()))
