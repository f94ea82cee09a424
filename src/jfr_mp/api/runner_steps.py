"""The steps of a `Runner`: its loop calls its public methods, so that a subclass can override them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from jfr_mp.database.claims import Claim, claim_of_lock
from jfr_mp.database.filters import JobFilter
from jfr_mp.database.locks import MongoLock
from jfr_mp.database.queries import job_info
from jfr_mp.engine.failures import outcome_of
from jfr_mp.engine.lane_plan import Engine
from jfr_mp.engine.limits import WorkerLimits
from jfr_mp.engine.step_runner import Advanced, StepResult, StepRunner
from jfr_mp.engine.wakeups import Wakeups
from jfr_mp.errors import LeaseLost
from jfr_mp.outcomes import Advance, Blame, Outcome, Retry
from jfr_mp.states import JobState
from jfr_mp.step_table import STEPS, Kind, Step
from jfr_mp.steps.services import StepFunction

logger = logging.getLogger(__name__)

#: The methods of the reference interface that perform a step. The other steps have no method.
METHODS = {"upload": "upload", "submit": "submit", "download": "download", "complete": "complete_job"}


class StepMethods(Protocol):
    """The public methods of a `Runner` that its loop calls; in addition, there is one for each of `METHODS`."""

    def advance_state(self, states: list[str], filter: dict[str, Any] | None = None) -> None:
        """Perform the next step of the jobs in some states."""


@dataclass
class _Turn:
    """One turn of a loop: the number of jobs that it may move, and the results."""

    limit: int
    results: list[StepResult] = field(default_factory=list)

    @property
    def over(self) -> bool:
        """Whether the turn has moved the maximum number of jobs."""
        return len(self.results) >= self.limit


class InHand(threading.local):
    """The state of a thread, passed from the loop to the code that the runner's methods call in turn."""

    steps: RunnerSteps | None = None
    turn: _Turn | None = None
    finished: StepResult | None = None


class RunnerSteps(StepRunner):
    """Move jobs by the methods of a runner.

    `advance` calls ``advance_state`` of the runner, which claims jobs and calls ``upload``, ``submit``, ``download`` or
    ``complete_job`` with the lock of each job.

    Parameters
    ----------
    engine
        The engine of the runner.
    wakeups
        As for `StepRunner`.
    """

    def __init__(self, engine: RunnerEngine, wakeups: Wakeups) -> None:
        super().__init__(engine.db, engine.services, engine.owner, wakeups, engine.traces)
        self._runner = engine.runner
        self._in_hand = engine.in_hand
        self._limits = WorkerLimits(engine.services.project, engine.db, engine.services.places)

    def advance(self, step: Step, jobs: JobFilter | None = None, *, limit: int | None = None) -> Advanced:
        """Perform a step on the next jobs, through the runner's `advance_state` if the step has a method."""
        if step.name not in METHODS:
            return super().advance(step, jobs, limit=limit)
        # The methods of a runner take one job at a time.
        turn = _Turn(1)
        self._in_hand.turn, self._in_hand.steps = turn, self
        try:
            self._runner.advance_state([state.value for state in step.sources], (jobs or JobFilter()).query(self.db))
        finally:
            self._in_hand.turn = self._in_hand.steps = None
        return Advanced(turn.results, more=bool(turn.results))

    def advance_states(self, states: Collection[JobState], query: Mapping[str, Any] | None) -> None:
        """Perform the steps of the jobs in some states: on one job in a turn of the loop, otherwise on all."""
        jobs, turn = JobFilter(further=query or {}), self._in_hand.turn
        # In a turn of a lane, the steps of that lane, which notice when the lane has to stop.
        steps = self._in_hand.steps or self
        for step in (step for step in STEPS if step.kind is Kind.CLAIM and not set(states).isdisjoint(step.sources)):
            while not (turn and turn.over):
                these = jobs if turn else self._within_limits(step, jobs)
                results = StepRunner.advance(steps, step, these, limit=1 if step.name in METHODS else None).results
                if turn is not None:
                    turn.results += results
                if not results or any(_blames_host(result) for result in results):
                    break

    def finish(self, claim: Claim, step: Step, result: Outcome | StepFunction | None = None) -> StepResult | None:
        """Finish a claim by the method of the runner for the step, if there is one."""
        if result is not None or step.name not in METHODS:
            return super().finish(claim, step, result)
        lock = MongoLock.held(self.db.jobs, claim.document, claim.lock_id)
        self._in_hand.finished = None
        try:
            getattr(self._runner, METHODS[step.name])(lock)
        except Exception as error:  # an error in a method of a subclass is handled like an error in a step
            if lock.locked_document is not None:
                return super().finish(claim, step, outcome_of(error))
            logger.exception("%s of job %s was written, but then its method failed", step.name, claim.job.db_id)
        claim.held = False
        if lock.locked_document is None:
            return self._in_hand.finished
        return self._released(claim, lock)

    def finish_lock(self, lock: MongoLock, step: Step) -> None:
        """Finish the job of a lock; the methods of the runner call this."""
        self._in_hand.finished = StepRunner.finish(self._in_hand.steps or self, claim_of_lock(lock), step)
        lock.forget()

    def _released(self, claim: Claim, lock: MongoLock) -> StepResult | None:
        """Release a lock that the method of a subclass still holds, applying its `update_on_release`."""
        try:
            lock.release()
        except LeaseLost:
            return None
        job = job_info(self.db, db_id=claim.job.db_id)
        if job is None or job.state is claim.job.state:
            return None
        return StepResult(job.db_id, job.worker, Advance(job.state), (job.state,))

    def _within_limits(self, step: Step, jobs: JobFilter) -> JobFilter:
        if not step.respects_max_jobs:
            return jobs
        self._limits.refresh()
        return jobs.without_workers(self._limits.full_workers())


@dataclass(frozen=True)
class RunnerEngine(Engine):
    """The engine of a `Runner`."""

    runner: StepMethods
    in_hand: InHand = field(default_factory=InHand, compare=False)

    def steps(self, wakeups: Wakeups) -> RunnerSteps:
        """Return the step runner of a lane, which uses the methods of the runner."""
        return RunnerSteps(self, wakeups)


def _blames_host(result: StepResult) -> bool:
    """Return whether the host is unreachable: its job can be claimed again at once, so a loop over jobs must stop."""
    return isinstance(result.outcome, Retry) and result.outcome.blame in (Blame.HOST, Blame.LOGIN)
