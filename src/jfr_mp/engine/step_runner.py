"""Claim, run, commit: the one way in which a job moves by a step."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_exponential

from jfr_mp.database.claims import Claim, claim
from jfr_mp.database.commits import commit, commit_together
from jfr_mp.database.connection import QueueDatabase
from jfr_mp.database.faults import TRANSIENT
from jfr_mp.database.filters import JobFilter
from jfr_mp.engine.failures import outcome_of
from jfr_mp.engine.wakeups import Wakeups
from jfr_mp.errors import LeaseLost
from jfr_mp.faultpoints import reach
from jfr_mp.model import JobDoc, JobInfo
from jfr_mp.outcomes import Completion, Fail, Outcome, Retry
from jfr_mp.states import JobState
from jfr_mp.step_table import Step
from jfr_mp.steps.services import Services, StepFunction

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True)
class StepResult:
    """What a step made of a job, and the states in which there now is new work."""

    db_id: str
    worker: str
    outcome: Outcome
    states: tuple[JobState, ...]


class StepRunner:
    """Moves jobs by steps.

    Parameters
    ----------
    db
        The queue database.
    services
        What the steps may use.
    owner
        The identity that the locks name.
    wakeups
        Says when to stop waiting for an unavailable database.
    """

    def __init__(self, db: QueueDatabase, services: Services, owner: str, wakeups: Wakeups) -> None:
        self.db = db
        self.services = services
        self._owner = owner
        self._wakeups = wakeups
        self._policy = services.project.runner

    def advance(self, step: Step, jobs: JobFilter | None = None, *, limit: int | None = None) -> list[StepResult]:
        """Take the next jobs of a step through it.

        Parameters
        ----------
        step
            The step.
        jobs
            Which jobs; None for all.
        limit
            The most jobs; None for as many as the row of the step says.

        Returns
        -------
        list of StepResult
            One for each job that was claimed and whose lease was not lost on the way.
        """
        with claim(self.db, step, self._owner, jobs, limit=limit or step.claims) as claims:
            return self.finish_all(claims, step)

    def write(self, step: Step, job: JobInfo, result: Outcome | StepFunction) -> StepResult | None:
        """Claim one job in the state in which it was seen, and write its result.

        Parameters
        ----------
        step
            The step that found the result.
        job
            The job as it was seen.
        result
            An outcome, or a step function that finds it under the lock of the job.

        Returns
        -------
        StepResult or None
            None if another process holds the job, or has moved it, or the lease was lost.
        """
        this_job = JobFilter(job_ids=((job.uuid, job.index),), states=(job.state,))
        with claim(self.db, step, self._owner, this_job) as claims:
            return next((self.finish(each, step, result) for each in claims), None)

    def finish_all(self, claims: Sequence[Claim], step: Step) -> list[StepResult]:
        """Run a step for claimed jobs, write the outcomes and release the locks."""
        if len(claims) == 1:
            results = [self.finish(claims[0], step)]
        else:
            results = self._finish_together([(each, self._outcome(each, step)) for each in claims], step)
        return [result for result in results if result is not None]

    def finish(self, claim: Claim, step: Step, result: Outcome | StepFunction | None = None) -> StepResult | None:
        """Run a step for a claimed job, write its outcome and release the lock.

        Parameters
        ----------
        result
            An outcome that is known already, or what to run instead of the step's own function.

        Returns
        -------
        StepResult or None
            None if the lease was lost meanwhile: nothing was written.
        """
        outcome = self._outcome(claim, step, result)
        try:
            news = self._commit(claim, step, outcome)
        except LeaseLost as error:
            _log_lost(step, claim, error)
            return None
        return self._written(claim, step, outcome, news)

    def _finish_together(self, outcomes: Sequence[tuple[Claim, Outcome]], step: Step) -> list[StepResult | None]:
        written = self._patiently(lambda: commit_together(self.db, step, outcomes, self._policy))
        results: list[StepResult | None] = []
        for (each, outcome), news in zip(outcomes, written, strict=True):
            if isinstance(news, LeaseLost):
                _log_lost(step, each, news)
            else:
                results.append(self._written(each, step, outcome, news))
        return results

    def _outcome(self, claim: Claim, step: Step, result: Outcome | StepFunction | None = None) -> Outcome:
        reach(f"{step.name}.after_claim")
        found = step.load() if result is None else result
        outcome = self._run(claim.job, step, found) if callable(found) else found
        _log(step, claim.job, outcome)
        reach(f"{step.name}.before_commit")
        return outcome

    def _run(self, job: JobDoc, step: Step, function: StepFunction) -> Outcome:
        logger.debug("%s of job %s begins", step.name, job.db_id)
        try:
            return function(job, self.services.site(job.worker), self.services)
        except Exception as error:  # whatever one job's data make a step raise must not stop the other jobs
            logger.debug("%s of job %s raised", step.name, job.db_id, exc_info=True)
            return outcome_of(error)

    def _written(self, claim: Claim, step: Step, outcome: Outcome, news: tuple[JobState, ...]) -> StepResult:
        reach(f"{step.name}.after_commit")
        if isinstance(outcome, Completion):
            self.services.forget_output(claim.job)
        return StepResult(claim.job.db_id, claim.job.worker, outcome, news)

    def _commit(self, claim: Claim, step: Step, outcome: Outcome) -> tuple[JobState, ...]:
        try:
            return self._patiently(lambda: commit(self.db, claim, step, outcome, self._policy))
        except TRANSIENT:
            raise
        except LeaseLost:
            raise
        except Exception as error:  # the outcome itself cannot be written, for instance because it is too large
            instead = outcome_of(error)
            return self._patiently(lambda: commit(self.db, claim, step, instead, self._policy))

    def _patiently(self, write: Callable[[], T]) -> T:
        """Write, however long the database is unavailable: the step must not be done again for that."""
        attempts = Retrying(
            retry=retry_if_exception_type(TRANSIENT),
            wait=wait_exponential(multiplier=0.1, max=2),
            stop=lambda _state: self._wakeups.stop_requested,
            sleep=self._pause,
            before_sleep=_log_unavailable,
            reraise=True,
        )
        return attempts(write)

    def _pause(self, seconds: float) -> None:
        """Wait, but hear a request to stop; the wake-ups that are dropped here are found by the next probe."""
        self._wakeups.wait(seconds)


def _log(step: Step, job: JobDoc, outcome: Outcome) -> None:
    if isinstance(outcome, Fail):
        logger.error("%s of job %s failed: %s", step.name, job.db_id, outcome.why)
    elif isinstance(outcome, Retry):
        logger.warning("%s of job %s will be tried again: %s", step.name, job.db_id, outcome.why)
    elif isinstance(outcome, Completion) and outcome.error:
        last_line = outcome.error.strip().rpartition("\n")[2]
        logger.info("%s of job %s: %s, %s", step.name, job.db_id, outcome.state.value, last_line)
    else:
        logger.info("%s of job %s: %s", step.name, job.db_id, outcome.state.value)


def _log_lost(step: Step, claim: Claim, error: LeaseLost) -> None:
    logger.warning("%s of job %s abandoned: %s", step.name, claim.job.db_id, error)


def _log_unavailable(state: RetryCallState) -> None:
    if state.attempt_number == 1 and state.outcome is not None:
        logger.warning("the database is unavailable, an outcome waits to be written: %s", state.outcome.exception())
