"""Claim, run, commit: the only way in which a step moves a job."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from tenacity import RetryCallState, Retrying, retry_if_exception_type, wait_exponential

from jfr_mp.database.claims import Claim, claim
from jfr_mp.database.commits import commit, commit_together, parts
from jfr_mp.database.connection import QueueDatabase
from jfr_mp.database.faults import TRANSIENT
from jfr_mp.database.filters import JobFilter
from jfr_mp.database.flow_lookup import reported_flow
from jfr_mp.engine.failures import outcome_of
from jfr_mp.engine.traces import NO_TRACES, Traces
from jfr_mp.engine.wakeups import Wakeups
from jfr_mp.errors import LeaseLost
from jfr_mp.faultpoints import reach
from jfr_mp.measurements import StateMeasurement, StepMeasurement
from jfr_mp.model import JobDoc, JobInfo, utcnow
from jfr_mp.outcomes import Completion, Fail, Outcome, Retry
from jfr_mp.states import JobState
from jfr_mp.step_table import Step
from jfr_mp.steps.services import Services, StepFunction

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Seconds for which outcomes wait for others that are written with them.
_HOLD = 0.1
#: Seconds that a turn of a step shall take at most, if it has several jobs; and the number of jobs to begin with.
_TURN, _FIRST_WIDTH = 3.0, 4
#: How the outcomes that are not the end of a step are called in measurements.
_KINDS = {Retry: "retry", Fail: "failed"}


@dataclass(frozen=True)
class StepResult:
    """The outcome of a step for a job, and the states in which there is new work now."""

    db_id: str
    worker: str
    outcome: Outcome
    states: tuple[JobState, ...]


@dataclass(frozen=True)
class Advanced:
    """What one turn of a step did: the results, and whether more jobs may be waiting."""

    results: list[StepResult]
    more: bool


class Pace:
    """How many jobs a step claims at once: few while they take long, so that other processes get the others."""

    def __init__(self) -> None:
        self._widths: dict[str, int] = {}

    def width(self, step: Step) -> int:
        """Return the number of jobs to claim next."""
        return min(step.claims, self._widths.get(step.name, _FIRST_WIDTH))

    def note(self, step: Step, jobs: int, seconds: float) -> None:
        """Note how long the step took for some jobs, of which a part may have been done at the same time."""
        if jobs:
            fitting = int(_TURN * jobs / max(seconds, 1e-3))
            self._widths[step.name] = max(1, min(fitting, 2 * self.width(step)))


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
    traces
        Where the spans of the jobs go.
    """

    def __init__(
        self, db: QueueDatabase, services: Services, owner: str, wakeups: Wakeups, traces: Traces = NO_TRACES
    ) -> None:
        self.db = db
        self.services = services
        self._owner = owner
        self._wakeups = wakeups
        self._traces = replace(traces, flow_of=lambda job: reported_flow(db, job.uuid, job.hosts))
        self._policy = services.project.runner
        self._pace = Pace()

    def advance(self, step: Step, jobs: JobFilter | None = None, *, limit: int | None = None) -> Advanced:
        """Claim the next jobs of a step and perform the step on them.

        Parameters
        ----------
        step
            The step.
        jobs
            The jobs to choose from; None for all.
        limit
            The maximum number of jobs; None for as many as suit: up to the number in the step table while the jobs of
            this step are done quickly, otherwise one.

        Returns
        -------
        Advanced
            The results, and whether more jobs may be waiting.
        """
        width = self._pace.width(step)
        limit = width if limit is None else min(limit, width)
        with claim(self.db, step, self._owner, jobs, limit=limit) as claims:
            begun = time.monotonic()
            results = self.finish_all(claims, step)
            self._pace.note(step, len(claims), time.monotonic() - begun)
            return Advanced(results, more=len(claims) == limit)

    def write(self, step: Step, seen: Sequence[tuple[JobInfo, Outcome | StepFunction]]) -> list[StepResult]:
        """Claim jobs in the states in which they were seen, and write their results.

        Parameters
        ----------
        step
            The step that determined the results.
        seen
            The jobs as they were seen, each with an outcome, or with a step function that determines it under the lock
            of the job.

        Returns
        -------
        list of StepResult
            The results that were written: not those of jobs that another process has locked or moved, or whose lease
            was lost.
        """
        by_key = {(job.uuid, job.index): (job, result) for job, result in seen}
        these = JobFilter(job_ids=tuple(by_key), states=tuple({job.state for job, _ in seen}))
        with claim(self.db, step, self._owner, these, limit=len(by_key)) as claims:
            known = [(each, *by_key[each.job.uuid, each.job.index]) for each in claims]
            return self._finish([(each, result) for each, job, result in known if each.job.state is job.state], step)

    def finish_all(self, claims: Sequence[Claim], step: Step) -> list[StepResult]:
        """Run a step for claimed jobs, write the outcomes, release the locks and return the results."""
        return self._finish([(each, None) for each in claims], step)

    def _finish(self, claims: Sequence[tuple[Claim, Outcome | StepFunction | None]], step: Step) -> list[StepResult]:
        if len(claims) == 1:
            ((only, result),) = claims
            written = self.finish(only, step, result)
            return [] if written is None else [written]
        results: list[StepResult] = []
        outcomes: list[tuple[Claim, Outcome]] = []
        begun = time.monotonic()
        with closing(self._outcomes(claims, step)) as coming:
            for outcome in coming:
                outcomes.append(outcome)
                if time.monotonic() - begun > _HOLD:
                    results += self._write_together(outcomes, step)
                    outcomes, begun = [], time.monotonic()
        return results + self._write_together(outcomes, step)

    def _outcomes(
        self, claims: Sequence[tuple[Claim, Outcome | StepFunction | None]], step: Step
    ) -> Generator[tuple[Claim, Outcome], None, None]:
        """Yield the outcomes of a step as they come; after a request to stop, the other jobs are released unchanged."""
        at_once = step.at_once if all(self._is_remote(claim) for claim, _ in claims) else 1
        if at_once == 1:
            for each, result in claims:
                if self._wakeups.stop_requested:
                    return
                yield each, self._outcome(each, step, result)
            return
        with ThreadPoolExecutor(at_once, thread_name_prefix=step.name) as helpers:
            running = {helpers.submit(self._unless_stopping, each, step, result): each for each, result in claims}
            for done in as_completed(running):
                if outcome := done.result():
                    yield running[done], outcome

    def _unless_stopping(self, claim: Claim, step: Step, result: Outcome | StepFunction | None) -> Outcome | None:
        return None if self._wakeups.stop_requested else self._outcome(claim, step, result)

    def _is_remote(self, claim: Claim) -> bool:
        """Return whether the step of a job waits for a remote host."""
        worker = self.services.project.workers.get(claim.job.worker)
        return worker is not None and not worker.is_local and not worker.is_batch

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

    def _write_together(self, outcomes: Sequence[tuple[Claim, Outcome]], step: Step) -> list[StepResult]:
        results: list[StepResult] = []
        for part in parts(self.db, outcomes) if outcomes else ():
            written = self._patiently(partial(commit_together, self.db, step, part, self._policy))
            for (each, outcome), news in zip(part, written, strict=True):
                if isinstance(news, LeaseLost):
                    _log_lost(step, each, news)
                elif isinstance(news, Exception):
                    results += filter(None, [self.finish(each, step, outcome_of(news))])
                else:
                    results.append(self._written(each, step, outcome, news))
        return results

    def _outcome(self, claim: Claim, step: Step, result: Outcome | StepFunction | None = None) -> Outcome:
        reach(f"{step.name}.after_claim")
        found = step.load() if result is None else result
        begun = time.monotonic()
        outcome = self._run(claim, step, found) if callable(found) else found
        seconds = time.monotonic() - begun if callable(found) else None
        kind = _KINDS.get(type(outcome), "done")
        self.services.measurements.note(StepMeasurement(step.name, claim.job.worker, kind, seconds))
        if seconds is not None:
            self._traces.step(step, claim.job, outcome, seconds)
        _log(step, claim.job, outcome)
        reach(f"{step.name}.before_commit")
        return outcome

    def _run(self, claim: Claim, step: Step, function: StepFunction) -> Outcome:
        job = claim.job
        logger.debug("%s of job %s begins", step.name, job.db_id)
        try:
            with self.services.in_hand.of(step, job.db_id, claim.lock_id):
                return function(job, self.services.site(job.worker), self.services)
        except Exception as error:  # a step that fails for one job must not stop the other jobs
            logger.debug("%s of job %s raised", step.name, job.db_id, exc_info=True)
            return outcome_of(error)

    def _written(self, claim: Claim, step: Step, outcome: Outcome, news: tuple[JobState, ...]) -> StepResult:
        reach(f"{step.name}.after_commit")
        self._traces.state(claim.job, outcome)
        if not isinstance(outcome, Retry):
            waited = (utcnow() - claim.job.updated_on).total_seconds()
            self.services.measurements.note(StateMeasurement(claim.job.state.value, claim.job.worker, waited))
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
