"""Claim, run, commit: the only way in which a step moves a job."""

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
    """The outcome of a step for a job, and the states in which there is new work now."""

    db_id: str
    worker: str
    outcome: Outcome
    states: tuple[JobState, ...]


class StepRunner:
    """Move jobs by steps.

    Parameters
    ----------
    db
        The queue database.
    services
        The services for the steps.
    owner
        The identity of the process, which the locks name.
    wakeups
        Tells when to stop waiting for an unavailable database.
    """

    def __init__(self, db: QueueDatabase, services: Services, owner: str, wakeups: Wakeups) -> None:
        self.db = db
        self.services = services
        self._owner = owner
        self._wakeups = wakeups
        self._policy = services.project.runner

    def advance(self, step: Step, jobs: JobFilter | None = None, *, limit: int | None = None) -> list[StepResult]:
        """Claim the next jobs of a step and perform the step on them.

        Parameters
        ----------
        step
            The step.
        jobs
            The jobs to choose from; None for all.
        limit
            The maximum number of jobs; None for the number in the step table.

        Returns
        -------
        list of StepResult
            One result for each claimed job, except jobs whose lease was lost.
        """
        with claim(self.db, step, self._owner, jobs, limit=limit or step.claims) as claims:
            return self.finish_all(claims, step)

    def write(self, step: Step, job: JobInfo, result: Outcome | StepFunction) -> StepResult | None:
        """Claim one job in the state in which it was seen, and write its result.

        Parameters
        ----------
        step
            The step that determined the result.
        job
            The job as it was seen.
        result
            An outcome, or a step function that determines it under the lock of the job.

        Returns
        -------
        StepResult or None
            None if another process has locked or moved the job, or the lease was lost.
        """
        this_job = JobFilter(job_ids=((job.uuid, job.index),), states=(job.state,))
        with claim(self.db, step, self._owner, this_job) as claims:
            return next((self.finish(each, step, result) for each in claims), None)

    def finish_all(self, claims: Sequence[Claim], step: Step) -> list[StepResult]:
        """Run a step for claimed jobs, write the outcomes, release the locks and return the results."""
        if len(claims) == 1:
            results = [self.finish(claims[0], step)]
        else:
            results = self._finish_together([(each, self._outcome(each, step)) for each in claims], step)
        return [result for result in results if result is not None]

    def finish(self, claim: Claim, step: Step, result: Outcome | StepFunction | None = None) -> StepResult | None:
        """Run a step for a claimed job, write its outcome, release the lock and return the result.

        Parameters
        ----------
        result
            An outcome that is already known, or a function to run instead of the function of the step.

        Returns
        -------
        StepResult or None
            None if the lease was lost meanwhile; nothing was written.
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
        except Exception as error:  # a step that fails for one job must not stop the other jobs
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
        except Exception as error:  # noqa: BLE001 - the outcome itself cannot be written: it is too large
            instead = outcome_of(error)
            return self._patiently(lambda: commit(self.db, claim, step, instead, self._policy))

    def _patiently(self, write: Callable[[], T]) -> T:
        """Write, retrying as long as the database is unavailable, so that the step does not have to be repeated."""
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
        """Wait, but return early if a stop is requested; the next probe finds the jobs of wake-ups dropped here."""
        self._wakeups.wait(seconds)


def _log(step: Step, job: JobDoc, outcome: Outcome) -> None:
    if isinstance(outcome, Fail):
        logger.error("%s of job %s failed: %s", step.name, job.db_id, outcome.why)
    elif isinstance(outcome, Retry):
        logger.warning("%s of job %s will be retried: %s", step.name, job.db_id, outcome.why)
    elif isinstance(outcome, Completion) and outcome.error:
        last_line = outcome.error.strip().rpartition("\n")[2]
        logger.info("%s of job %s: %s, %s", step.name, job.db_id, outcome.state.value, last_line)
    else:
        logger.info("%s of job %s: %s", step.name, job.db_id, outcome.state.value)


def _log_lost(step: Step, claim: Claim, error: LeaseLost) -> None:
    logger.warning("%s of job %s abandoned: %s", step.name, claim.job.db_id, error)


def _log_unavailable(state: RetryCallState) -> None:
    if state.attempt_number == 1 and state.outcome is not None:
        logger.warning(
            "the database is unavailable; an outcome is kept and will be written later: %s", state.outcome.exception()
        )
