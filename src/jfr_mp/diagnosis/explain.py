"""Why a job is where it is, and what would move it: derived from facts that were gathered, without a side effect."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from jfr_mp.model import JobInfo, Outage
from jfr_mp.states import FINAL_STATES, JobState
from jfr_mp.step_table import BATCH, POLL, SUBMIT, Role, Step, step_from

_NOTHING = "nothing to do"


@dataclass(frozen=True)
class Parent:
    """A job that another one waits for.

    Parameters
    ----------
    uuid
        Its uuid.
    db_id, name, state
        Of its last index; None where there is no such job.
    """

    uuid: str
    db_id: str | None = None
    name: str | None = None
    state: JobState | None = None


@dataclass(frozen=True)
class LockHolder:
    """Who holds a lock.

    Parameters
    ----------
    lock_id, since
        The lock.
    owner
        The process that it names, as ``host:pid:token``; None for a lock that is not one of ours.
    name
        The name of that process, such as ``transfer-1``, where the registry has it.
    alive
        Whether it was heard of within the lease.
    """

    lock_id: str
    since: datetime | None = None
    owner: str | None = None
    name: str | None = None
    alive: bool = False


@dataclass(frozen=True)
class Facts:
    """What is known about a job and about all that it depends on.

    Parameters
    ----------
    job
        The job.
    now
        The time of the database server.
    parents
        What it waits for or did.
    enough
        The states of a parent in which this job may start.
    lock, flow_lock
        Who holds the job, and its flow.
    roles
        The roles that a living process has, jobflow-remote's daemon included.
    outage
        The host of its worker is away.
    worker_known
        Whether the project has its worker.
    in_queue, max_jobs
        How many jobs the scheduler has from its worker, and how many it may have.
    scheduler
        What the scheduler says of its process, or why it says nothing; None where it was not asked.
    """

    job: JobInfo
    now: datetime
    parents: tuple[Parent, ...] = ()
    enough: tuple[JobState, ...] = (JobState.COMPLETED,)
    lock: LockHolder | None = None
    flow_lock: LockHolder | None = None
    roles: frozenset[Role] = frozenset(Role)
    outage: Outage | None = None
    worker_known: bool = True
    in_queue: int = 0
    max_jobs: int | None = None
    scheduler: str | None = None


@dataclass(frozen=True)
class Reason:
    """One reason why a job is where it is.

    Parameters
    ----------
    why
        The reason.
    cure
        What would move the job, or that nothing has to be done.
    """

    why: str
    cure: str


def explain(facts: Facts) -> tuple[Reason, ...]:
    """Return the reasons why a job is where it is, those that matter most first; there is at least one."""
    state = facts.job.state
    if state in _RESTING:
        return (_RESTING[state](facts),)
    reasons = [*_locked(facts), *(_waiting(facts) if state is JobState.WAITING else _moving(facts))]
    return tuple(reasons)


def _completed(facts: Facts) -> Reason:
    return Reason("it has run and its output is stored", _NOTHING)


def _failed(facts: Facts) -> Reason:
    text = _last_line(facts.job.error) or "it left no error"
    return Reason(
        f"it ran and failed: {text}",
        f"see `jfr-mp job info {facts.job.db_id}` and `jfr-mp job queue-out {facts.job.db_id}`; when the cause is gone "
        f"`jfr-mp job rerun {facts.job.db_id}`",
    )


def _remote_error(facts: Facts) -> Reason:
    job = facts.job
    step = step_from(job.previous_state) if job.previous_state else None
    what = f"the step {step.name} failed" if step else "a step failed"
    tries = f" {job.remote.step_attempts} times" if job.remote.step_attempts > 1 else ""
    text = _last_line(job.remote.error) or "without an error"
    return Reason(
        f"{what}{tries} and is not tried again: {text}", f"remove the cause, then `jfr-mp job retry {job.db_id}`"
    )


def _paused(facts: Facts) -> Reason:
    return Reason("somebody paused it", _resume(facts.job))


def _stopped(facts: Facts) -> Reason:
    return Reason(
        "a job of its flow stopped it before it started", f"{_NOTHING}; if it is to run, {_resume(facts.job)}"
    )


def _user_stopped(facts: Facts) -> Reason:
    return Reason("somebody stopped it", f"{_NOTHING}; if it is to run, {_resume(facts.job)}")


def _resume(job: JobInfo | Parent) -> str:
    return f"`jfr-mp job resume {job.db_id}`"


#: States that no process of ours changes.
_RESTING: dict[JobState, Callable[[Facts], Reason]] = {
    JobState.COMPLETED: _completed,
    JobState.FAILED: _failed,
    JobState.REMOTE_ERROR: _remote_error,
    JobState.PAUSED: _paused,
    JobState.STOPPED: _stopped,
    JobState.USER_STOPPED: _user_stopped,
}


def _waiting(facts: Facts) -> Iterator[Reason]:
    """Say for which parents a WAITING job waits."""
    blocking = [parent for parent in facts.parents if parent.state not in facts.enough]
    yield from map(_blocked_by, blocking)
    if not blocking:
        yield Reason(
            "all its parents are done, but the completion of the last one was cut off before it made this job READY",
            "running processes find that by themselves; `jfr-mp admin reconcile` repairs it at once",
        )


def _blocked_by(parent: Parent) -> Reason:
    if parent.db_id is None or parent.state is None:
        return Reason(f"it waits for the job {parent.uuid}, which is not there", "delete the flow and submit it again")
    why = f"it waits for job {parent.db_id} ({parent.name}), which is {parent.state.name}"
    if parent.state in FINAL_STATES:
        again = f"`jfr-mp job rerun {parent.db_id}`" if parent.state is JobState.FAILED else _resume(parent)
        return Reason(why, f"it waits for ever, unless the other one completes after all: {again}")
    return Reason(why, f"see `jfr-mp job explain {parent.db_id}`")


def _moving(facts: Facts) -> Iterator[Reason]:
    """Say what keeps a job that a process should move."""
    step = step_from(facts.job.state)
    if step is None:
        return
    hindrances = [*_nobody(facts, step), *_held_up(facts, step)]
    yield from hindrances
    if facts.scheduler is not None:
        yield Reason(f"the scheduler says of {facts.job.remote.process_id}: {facts.scheduler}", _cure_of_poll(facts))
    elif step is BATCH:
        yield _in_pool(facts)
    elif facts.lock is None and not hindrances:
        yield Reason(f"the next step, {step.name}, is to {step.summary}", f"{_NOTHING}: {step.role} does it soon")


def _in_pool(facts: Facts) -> Reason:
    job = facts.job
    if job.state is JobState.BATCH_RUNNING:
        return Reason(f"it runs in an allocation of the batch worker {job.worker}", f"{_NOTHING}: wait for its end")
    return Reason(
        f"it waits in the pool of the batch worker {job.worker} for an allocation that takes it",
        f"{_NOTHING}: allocations are submitted as max_jobs of the worker and its scheduler allow",
    )


def _cure_of_poll(facts: Facts) -> str:
    if facts.outage or POLL.role not in facts.roles:
        return "see above"
    return f"{_NOTHING}: its end is seen as soon as the scheduler or the job itself tells of it"


def _nobody(facts: Facts, step: Step) -> Iterator[Reason]:
    """Say that nobody does the next step."""
    if not facts.roles:
        yield Reason("nothing is running that moves jobs", "`jfr-mp start`")
    elif step.role not in facts.roles:
        yield Reason(f"no process with the role {step.role} is running", f"`jfr-mp start --{step.role}`")
    if not facts.worker_known:
        yield Reason(
            f"the project has no worker {facts.job.worker}", "put it back into the project file, or stop the job"
        )


def _held_up(facts: Facts, step: Step) -> Iterator[Reason]:
    """Say what the next step waits for."""
    job = facts.job
    if facts.outage is not None:
        outage = facts.outage
        yield Reason(
            f"the host of worker {job.worker} is away since {_clock(outage.since)}: {outage.why}",
            f"{_NOTHING} if that passes, else remove the cause (`jfr-mp project check` tests the worker): it is tried "
            f"again at {_clock(outage.next_try)}, and no attempt is spent",
        )
    limit = job.remote.retry_time_limit
    if limit is not None and limit > facts.now:
        yield Reason(_tried(job, step), f"{_NOTHING}: it is tried again at {_clock(limit)}")
    elif job.remote.error and step is BATCH:
        yield Reason(job.remote.error, "remove the cause (`jfr-mp project check` tests the worker); it is tried again")
    elif job.remote.error and not (facts.outage and facts.outage.why == job.remote.error):
        yield Reason(_tried(job, step), f"{_NOTHING}: the next try is due")
    if step is SUBMIT and facts.max_jobs and facts.in_queue >= facts.max_jobs:
        yield Reason(
            f"worker {job.worker} has {facts.in_queue} jobs in its scheduler and may have {facts.max_jobs}",
            "wait until one of them ends, or raise max_jobs of the worker",
        )
    if facts.flow_lock is not None and step.targets[0] is JobState.COMPLETED:
        yield from _held("its flow", facts.flow_lock)


def _tried(job: JobInfo, step: Step) -> str:
    number = job.remote.step_attempts
    tries = f"attempt {number} of the step {step.name}" if number else f"the step {step.name} was put off"
    return f"{tries}: {_last_line(job.remote.error) or 'no error was left'}"


def _locked(facts: Facts) -> Iterator[Reason]:
    if facts.lock is not None:
        yield from _held("it", facts.lock)


def _held(what: str, lock: LockHolder) -> Iterator[Reason]:
    """Say who holds a lock and when that ends."""
    since = f" since {_clock(lock.since)}" if lock.since else ""
    if lock.owner is None:
        yield Reason(
            f"{what} is locked by {lock.lock_id}{since}, which is jobflow-remote or a tool",
            "wait; if nothing of jobflow-remote is running, `jfr-mp admin reconcile --break-locks`",
        )
    elif lock.alive:
        yield Reason(f"{lock.name or 'a process'} ({lock.owner}) works on {what}{since}", f"{_NOTHING}: it ends soon")
    else:
        yield Reason(
            f"{what} is locked by {lock.owner}{since}, a process that is not heard of any more",
            "running processes break the lock by themselves; `jfr-mp admin reconcile` does it at once",
        )


def _clock(moment: datetime) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _last_line(text: str | None) -> str:
    """Return the last line of an error, where a traceback has its reason."""
    lines = (text or "").strip().splitlines()
    return lines[-1] if lines else ""
