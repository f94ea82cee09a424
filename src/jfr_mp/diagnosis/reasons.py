"""Why a job is in its state, and what would move it: derived from facts, without a side effect."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from jfr_mp.diagnosis.facts import Cause, Facts, LockHolder, Parent
from jfr_mp.logs import counted
from jfr_mp.model import JobInfo
from jfr_mp.states import JobState
from jfr_mp.step_table import BATCH, POLL, SUBMIT, Step, step_from

_NOTHING = "nothing to do"


@dataclass(frozen=True)
class Reason:
    """One reason why a job is in its state.

    Parameters
    ----------
    why
        The reason.
    cure
        What would move the job, or that nothing has to be done.
    """

    why: str
    cure: str


def reasons_of(facts: Facts) -> tuple[Reason, ...]:
    """Return the reasons why a job is in its state, the most important first; there is at least one."""
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
        f"see `jfr-mp job info {facts.job.db_id}` and `jfr-mp job queue-out {facts.job.db_id}`; remove the cause, then "
        f"`jfr-mp job rerun {facts.job.db_id}`",
    )


def _remote_error(facts: Facts) -> Reason:
    job = facts.job
    step = step_from(job.previous_state) if job.previous_state else None
    what = f"the step {step.name} failed" if step else "a step failed"
    tries = f" {job.remote.step_attempts} times" if job.remote.step_attempts > 1 else ""
    text = _last_line(job.remote.error) or "it left no error"
    return Reason(f"{what}{tries} and is not retried: {text}", f"remove the cause, then `jfr-mp job retry {job.db_id}`")


def _paused(facts: Facts) -> Reason:
    return Reason("a user paused it", f"`jfr-mp job resume {facts.job.db_id}`")


def _stopped(facts: Facts) -> Reason:
    return Reason(
        "a job of its flow stopped it before it started",
        f"{_NOTHING}; to run it, `jfr-mp job resume {facts.job.db_id}`",
    )


def _user_stopped(facts: Facts) -> Reason:
    return Reason("a user stopped it", f"{_NOTHING}; to run it, `jfr-mp job resume {facts.job.db_id}`")


_RESTING: dict[JobState, Callable[[Facts], Reason]] = {
    JobState.COMPLETED: _completed,
    JobState.FAILED: _failed,
    JobState.REMOTE_ERROR: _remote_error,
    JobState.PAUSED: _paused,
    JobState.STOPPED: _stopped,
    JobState.USER_STOPPED: _user_stopped,
}
#: States that only a user changes: the job alone tells why it is in one of them.
AT_REST = frozenset(_RESTING)

#: The commands that move a job out of the states in which others wait for it until a user acts.
_COMMANDS = {
    JobState.FAILED: "rerun",
    JobState.REMOTE_ERROR: "retry",
    JobState.PAUSED: "resume",
    JobState.STOPPED: "resume",
    JobState.USER_STOPPED: "resume",
}


def _waiting(facts: Facts) -> Iterator[Reason]:
    """Say for which jobs a WAITING job waits; the jobs that no process will move come first."""
    yield from map(_waits_for, sorted(facts.causes, key=lambda cause: cause.job.state not in _COMMANDS))
    if not facts.causes:
        yield Reason(
            "all its parents are done, but the completion of the last one was cut off before it made this job READY",
            "running processes repair this themselves; `jfr-mp admin reconcile` repairs it at once",
        )


def _waits_for(cause: Cause) -> Reason:
    first, through = cause.job, cause.through
    if first.state is None:
        return Reason(
            f"{_waits(through)}{_first_cause(cause, f'the job {first.uuid}, which does not exist')}",
            "delete the flow and submit it again",
        )
    if cause.beyond:
        return Reason(
            f"it waits for a long chain of jobs; the farthest that was examined is job {first.db_id} ({first.name})",
            f"see `jfr-mp job explain {first.db_id}`",
        )
    error = f": {_last_line(first.error)}" if first.error and first.state in _COMMANDS else ""
    why = f"{_waits(through)}{_first_cause(cause, f'job {first.db_id} ({first.name}), which is {first.state.name}')}"
    if first.state in _COMMANDS:
        again = f"`jfr-mp job {_COMMANDS[first.state]} {first.db_id}`"
        return Reason(f"{why}{error}", f"it waits until job {first.db_id} completes: remove the cause, then {again}")
    if first.state is JobState.WAITING:
        why += " although all its parents are done"
    return Reason(why, f"see `jfr-mp job explain {first.db_id}`")


def _waits(through: Parent) -> str:
    if through.db_id is None or through.state is None:
        return "it waits for "
    return f"it waits for job {through.db_id} ({through.name}), which is {through.state.name}"


def _first_cause(cause: Cause, text: str) -> str:
    """Return the first cause as the end of a sentence; nothing if the parent is the cause itself."""
    if cause.job == cause.through:
        return text if cause.job.state is None else ""
    return f"; the first cause is {text}"


def _moving(facts: Facts) -> Iterator[Reason]:
    """Say what keeps a job that a process should move."""
    step = step_from(facts.job.state)
    if step is None:
        return
    hindrances = [*_not_done(facts, step), *_held_up(facts, step)]
    yield from hindrances
    if facts.scheduler is not None:
        yield Reason(f"the scheduler says of {facts.job.remote.process_id}: {facts.scheduler}", _cure_of_poll(facts))
    elif step is BATCH:
        yield _in_pool(facts)
    elif facts.lock is None and not hindrances:
        yield Reason(
            f"the next step, {step.name}, is to {step.summary}", f"{_NOTHING}: the {step.role} role does it soon"
        )


def _in_pool(facts: Facts) -> Reason:
    job = facts.job
    if job.state is JobState.BATCH_RUNNING:
        return Reason(f"it runs in a batch of the batch worker {job.worker}", f"{_NOTHING}: wait until it ends")
    return Reason(
        f"it waits in the pool of the batch worker {job.worker} for a batch that takes it",
        f"{_NOTHING}: batches are submitted as max_jobs of the worker and its scheduler allow",
    )


def _cure_of_poll(facts: Facts) -> str:
    if facts.outage or POLL.role not in facts.roles:
        return "see above"
    return f"{_NOTHING}: the {POLL.role} role notices its end as soon as the scheduler or the job reports it"


def _not_done(facts: Facts, step: Step) -> Iterator[Reason]:
    """Say that no process can do the next step."""
    if not facts.roles:
        yield Reason("no master is running on any machine", "`jfr-mp start`")
    elif step.role not in facts.roles:
        yield Reason(f"no process with the role {step.role} is running", f"`jfr-mp start --{step.role}`")
    if not facts.worker_known:
        yield Reason(
            f"the project has no worker {facts.job.worker}", "put it back into the project file, or stop the job"
        )


def _held_up(facts: Facts, step: Step) -> Iterator[Reason]:
    """Say what the next step waits for."""
    job = facts.job
    if facts.paused_by is not None and (step.begins or job.state is JobState.BATCH_SUBMITTED):
        yield Reason(f"{facts.paused_by} has paused worker {job.worker}", f"`jfr-mp resume --worker {job.worker}`")
    if facts.outage is not None:
        outage = facts.outage
        yield Reason(
            f"the host of worker {job.worker} has been unreachable since {_clock(outage.since)}: {outage.why}",
            f"{_NOTHING} if that passes; otherwise remove the cause (`jfr-mp project check` tests the worker). The "
            f"next attempt is at {_clock(outage.next_try)}, and the outage costs the job no attempt",
        )
    limit = job.remote.retry_time_limit
    if limit is not None and limit > facts.now:
        yield Reason(_tried(job, step), f"{_NOTHING}: the next attempt is at {_clock(limit)}")
    elif job.remote.error and step is BATCH:
        yield Reason(job.remote.error, "remove the cause (`jfr-mp project check` tests the worker); it is retried")
    elif job.remote.error and not (facts.outage and facts.outage.why == job.remote.error):
        yield Reason(_tried(job, step), f"{_NOTHING}: the next attempt is due")
    if step is SUBMIT and facts.max_jobs and facts.in_queue >= facts.max_jobs:
        yield Reason(
            f"worker {job.worker} has {counted(facts.in_queue, 'job')} in its scheduler and may have {facts.max_jobs}",
            "wait until one of them ends, or raise max_jobs of the worker",
        )
    if facts.flow_lock is not None and step.targets[0] is JobState.COMPLETED:
        yield from _held("its flow", facts.flow_lock)


def _tried(job: JobInfo, step: Step) -> str:
    number = job.remote.step_attempts
    tries = f"attempt {number} of the step {step.name}" if number else f"the step {step.name} was put off"
    return f"{tries}: {_last_line(job.remote.error) or 'it left no error'}"


def _locked(facts: Facts) -> Iterator[Reason]:
    if facts.lock is not None:
        yield from _held("it", facts.lock)


def _held(what: str, lock: LockHolder) -> Iterator[Reason]:
    """Say which process holds a lock and when that ends."""
    since = f" since {_clock(lock.since)}" if lock.since else ""
    locked = f"{what} {'has been' if since else 'is'} locked by"
    if lock.owner is None:
        yield Reason(
            f"{locked} {lock.lock_id}{since}, which is jobflow-remote or a tool",
            "wait; if no process of jobflow-remote is running, `jfr-mp admin reconcile --break-locks`",
        )
    elif lock.alive and lock.step:
        step = lock.step
        yield Reason(
            f"{locked} {lock.name or 'a process'} ({lock.owner}){since}: the step {step.step} began at "
            f"{_clock(step.since)} and has not ended",
            f"{_NOTHING} if that is expected; at {_clock(step.since + timedelta(seconds=step.limit))} the process is "
            "replaced and the step is tried once more (step_limits in the project file)",
        )
    elif lock.alive:
        yield Reason(f"{locked} {lock.name or 'a process'} ({lock.owner}){since}", f"{_NOTHING}: it ends soon")
    else:
        yield Reason(
            f"{locked} {lock.owner}{since}, a process that has sent no heartbeat lately",
            "running processes break the lock themselves; `jfr-mp admin reconcile` breaks it at once",
        )


def _clock(moment: datetime) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S")


def _last_line(text: str | None) -> str:
    """Return the last line of an error, which has the reason if the error is a traceback."""
    lines = (text or "").strip().splitlines()
    return lines[-1] if lines else ""
