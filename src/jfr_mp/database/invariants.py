"""What must hold for the document of one job, flow or batch: one row per rule, with the command that repairs it.

Every rule follows from `jfr_mp.states` and `jfr_mp.step_table`. A document that breaks one of them waits for something
that no step does, or breaks a later step. What concerns several documents is examined in `jfr_mp.database.consistency`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

from pydantic import ValidationError

from jfr_mp.database.faults import what_is_wrong
from jfr_mp.model import JobDoc
from jfr_mp.states import FINAL_STATES, RUNNING_STATES, JobState
from jfr_mp.step_table import STEPS

if TYPE_CHECKING:
    from jfr_mp.config import Project

_IN_POOL = (JobState.BATCH_SUBMITTED, JobState.BATCH_RUNNING)
_IN_SCHEDULER = (JobState.SUBMITTED, JobState.RUNNING)
_WITH_RUN_DIR = tuple(state for state in RUNNING_STATES if state is not JobState.CHECKED_OUT)
#: The states from which a step can fail, and to which a retry returns.
_SOURCES = frozenset(state for step in STEPS for state in step.sources)
#: Seconds beyond the longest delay of a retry by which the clocks of two machines may differ.
_CLOCKS_DIFFER = 600.0

#: The rule that a document has all fields that it needs, with values of the right types.
DAMAGED = "damaged-document"


@dataclass(frozen=True)
class Violation:
    """A rule that a document breaks.

    Parameters
    ----------
    rule
        The name of the rule.
    collection
        The collection of the document.
    document
        What names it: the db_id of a job, the uuid of a flow or batch, the id of a process or auxiliary document.
    problem
        What is wrong, and what follows from it.
    repair
        The command that repairs it, or what the user has to do.
    key
        The `_id` of the document.
    """

    rule: str
    collection: str
    document: str
    problem: str
    repair: str
    key: Any = field(default=None, repr=False)


@dataclass(frozen=True)
class Circumstances:
    """What the rules compare documents with.

    Parameters
    ----------
    workers
        The workers of the project, and whether each is a batch worker.
    longest_delay
        The most seconds for which a job can be put off.
    now
        The time of the database server.
    """

    workers: Mapping[str, bool]
    longest_delay: float
    now: datetime

    @classmethod
    def of_project(cls, project: Project, now: datetime) -> Self:
        """Return the circumstances of a project."""
        delays = [*project.runner.delta_retry, *(worker.delay_download or 0 for worker in project.workers.values())]
        workers = {name: worker.is_batch for name, worker in project.workers.items()}
        return cls(workers, max(delays, default=0.0), now)

    @property
    def latest_retry(self) -> datetime:
        """The latest time for which a job can have been put off."""
        return self.now + timedelta(seconds=self.longest_delay + _CLOCKS_DIFFER)

    @property
    def latest_now(self) -> datetime:
        """The latest time that a clock can have shown by now."""
        return self.now + timedelta(seconds=_CLOCKS_DIFFER)


@dataclass(frozen=True)
class JobRule:
    """A rule for jobs in some states.

    Parameters
    ----------
    name
        Its name.
    states
        The states for which it holds.
    broken
        Whether a job breaks it.
    problem, repair
        As in `Violation`; with the fields of the job in braces.
    """

    name: str
    states: tuple[JobState, ...]
    broken: Callable[[JobDoc, Circumstances], bool]
    problem: str
    repair: str


_RERUN = "jfr-mp job rerun --db-id {db_id} --force"

JOB_RULES = (
    JobRule(
        "job-identity",
        tuple(JobState),
        lambda job, _: (job.job.get("uuid"), job.job.get("index")) != (job.uuid, job.index),
        "its fields `uuid` and `index` differ from those of the serialized job: its output would be refused",
        "jfr-mp job delete --db-id {db_id}",
    ),
    JobRule(
        "lock-without-time",
        tuple(JobState),
        lambda job, _: job.lock_id is not None and job.lock_time is None,
        "it is locked by {lock_id} without a time, so that the lock never counts as stale",
        "jfr-mp admin unlock --db-id {db_id}",
    ),
    JobRule(
        "unknown-worker",
        tuple(state for state in JobState if state not in FINAL_STATES),
        lambda job, around: job.worker not in around.workers,
        "its worker {worker!r} is not in the project: no process moves it",
        "add the worker to the project file; for a job that has not started: "
        "jfr-mp job set worker WORKER --db-id {db_id}",
    ),
    JobRule(
        "no-run-dir",
        _WITH_RUN_DIR,
        lambda job, _: not job.run_dir,
        "it is {state} and has no run directory",
        _RERUN,
    ),
    JobRule(
        "no-process-id",
        _IN_SCHEDULER,
        lambda job, _: not job.remote.process_id,
        "it is {state} and has no id of the scheduler: its end cannot be noticed",
        _RERUN,
    ),
    JobRule(
        "not-in-pool",
        _IN_POOL,
        lambda job, around: around.workers.get(job.worker) is False,
        "it is {state}, but its worker {worker!r} is not a batch worker: no step processes it",
        _RERUN,
    ),
    JobRule(
        "not-in-scheduler",
        _IN_SCHEDULER,
        lambda job, around: around.workers.get(job.worker) is True,
        "it is {state}, but its worker {worker!r} is a batch worker: no step processes it",
        _RERUN,
    ),
    JobRule(
        "no-previous-state",
        (JobState.REMOTE_ERROR,),
        lambda job, _: job.previous_state not in _SOURCES,
        "it is REMOTE_ERROR and does not record the state in which a step failed: it cannot be retried",
        _RERUN,
    ),
    JobRule(
        "retry-too-late",
        RUNNING_STATES,
        lambda job, around: (job.remote.retry_time_limit or around.now) > around.latest_retry,
        "its next attempt is due at {retry_time_limit:%F %R} UTC, later than any delay allows: a clock was wrong",
        "jfr-mp job retry --db-id {db_id}",
    ),
)


def job_violations(document: Mapping[str, Any], collection: str, around: Circumstances) -> Iterator[Violation]:
    """Yield the rules that a job breaks.

    Parameters
    ----------
    document
        Its document, with or without its inputs.
    collection
        The name of the collection.
    """
    try:
        job = JobDoc.model_validate({key: value for key, value in document.items() if key != "_id"})
    except ValidationError as error:
        yield damaged(document, collection, "db_id", error)
        return
    names = {
        "db_id": job.db_id,
        "lock_id": job.lock_id,
        "worker": job.worker,
        "state": job.state.name,
        "retry_time_limit": job.remote.retry_time_limit,
    }
    for rule in JOB_RULES:
        if job.state in rule.states and rule.broken(job, around):
            problem, repair = rule.problem.format_map(names), rule.repair.format_map(names)
            yield Violation(rule.name, collection, job.db_id, problem, repair, document["_id"])


def damaged(document: Mapping[str, Any], collection: str, name: str, error: ValidationError) -> Violation:
    """Return the violation of a document that lacks a field, or has one of a wrong type.

    Parameters
    ----------
    name
        The field that names the document.
    """
    return Violation(
        rule=DAMAGED,
        collection=collection,
        document=str(document.get(name) or document["_id"]),
        problem=f"the document cannot be read: {what_is_wrong(error)}",
        repair="jfr-mp admin reconcile --delete-damaged",
        key=document["_id"],
    )
