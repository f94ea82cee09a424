"""Claim, run, commit: the one way in which a job moves by a step."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_exponential

from jfr_mp.database.claims import claim, commit
from jfr_mp.database.connection import QueueDatabase
from jfr_mp.database.faults import TRANSIENT
from jfr_mp.database.locks import MongoLock
from jfr_mp.engine.failures import outcome_of
from jfr_mp.engine.wakeups import Wakeups
from jfr_mp.errors import LeaseLost
from jfr_mp.faultpoints import reach
from jfr_mp.model import JobDoc
from jfr_mp.outcomes import Completion, Fail, Outcome, Retry
from jfr_mp.states import JobState
from jfr_mp.step_table import Step
from jfr_mp.steps import STEP_FUNCTIONS, StepFunction
from jfr_mp.steps.services import Services

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class StepResult:
    """What one advance did: the job, what came of the step, and the states in which there now is new work."""

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
        Tells when to give up waiting for a database that is away.
    """

    def __init__(self, db: QueueDatabase, services: Services, owner: str, wakeups: Wakeups) -> None:
        self.db = db
        self.services = services
        self._owner = owner
        self._wakeups = wakeups

    def advance(
        self,
        step: Step,
        *,
        query: Mapping[str, Any] | None = None,
        exclude_workers: Collection[str] = (),
        outcome: Outcome | StepFunction | None = None,
    ) -> StepResult | None:
        """Take the next job of a step through it.

        Parameters
        ----------
        step
            The step.
        query
            Further conditions on the job document.
        exclude_workers
            Workers whose jobs are left alone.
        outcome
            What is to be written, where it is known already, or what is run instead of the step's own function.

        Returns
        -------
        StepResult or None
            None where no job is waiting for this step, or where the lock of one was lost on the way.
        """
        with claim(self.db, step, self._owner, query=query, exclude_workers=exclude_workers) as lock:
            document = lock.locked_document
            if document is None:
                return None
            return self.finish(lock, step, outcome)

    def finish(self, lock: MongoLock, step: Step, outcome: Outcome | StepFunction | None = None) -> StepResult | None:
        """Run a step for a job that is locked, write its outcome and release the lock.

        Returns
        -------
        StepResult or None
            None where the lock was lost meanwhile: nothing was written.
        """
        document = lock.locked_document
        if document is None:
            raise ValueError("the lock holds no job")
        reach(f"{step.name}.after_claim")
        if outcome is None:
            outcome = STEP_FUNCTIONS[step]
        result = self._run(step, document, outcome) if callable(outcome) else outcome
        _log(step, document, result)
        reach(f"{step.name}.before_commit")
        try:
            news = self._commit(lock, step, result)
        except LeaseLost as error:
            logger.warning("%s of job %s abandoned: %s", step.name, document["db_id"], error)
            return None
        reach(f"{step.name}.after_commit")
        if isinstance(result, Completion):
            self.services.forget_output(JobDoc.model_validate(document))
        return StepResult(document["db_id"], document["worker"], result, news)

    def _run(self, step: Step, document: dict[str, Any], function: StepFunction) -> Outcome:
        logger.debug("%s of job %s begins", step.name, document["db_id"])
        try:
            return function(JobDoc.model_validate(document), self.services)
        except Exception as error:  # whatever one job's data make a step raise must not stop the other jobs
            logger.debug("%s of job %s raised", step.name, document["db_id"], exc_info=True)
            return outcome_of(error)

    def _commit(self, lock: MongoLock, step: Step, outcome: Outcome) -> tuple[JobState, ...]:
        """Write an outcome, however long the database is away: the step must not be done again for that."""
        patiently = Retrying(
            retry=retry_if_exception_type(TRANSIENT),
            wait=wait_exponential(multiplier=0.1, max=2),
            stop=lambda _state: self._wakeups.stop_requested,
            sleep=self._pause,
            before_sleep=_log_database_away,
            reraise=True,
        )
        policy = self.services.project.runner
        try:
            return patiently(commit, self.db, lock, step, outcome, policy)
        except TRANSIENT:
            raise
        except LeaseLost:
            raise
        except Exception as error:  # the outcome itself cannot be written, for instance because it is too large
            return patiently(commit, self.db, lock, step, outcome_of(error), policy)

    def _pause(self, seconds: float) -> None:
        """Wait, but hear an order to stop; the wake-ups that are dropped here are found by the next probe."""
        self._wakeups.wait(seconds)


def _log(step: Step, document: Mapping[str, Any], outcome: Outcome) -> None:
    if isinstance(outcome, Fail):
        logger.error("%s of job %s failed: %s", step.name, document["db_id"], outcome.why)
    elif isinstance(outcome, Retry):
        logger.warning("%s of job %s will be tried again: %s", step.name, document["db_id"], outcome.why)
    elif isinstance(outcome, Completion) and outcome.error:
        last_line = outcome.error.strip().rpartition("\n")[2]
        logger.info("%s of job %s: %s, %s", step.name, document["db_id"], outcome.state.value, last_line)
    else:
        logger.info("%s of job %s: %s", step.name, document["db_id"], outcome.state.value)


def _log_database_away(state: RetryCallState) -> None:
    if state.attempt_number == 1 and state.outcome is not None:
        logger.warning("the database is away, an outcome waits to be written: %s", state.outcome.exception())
