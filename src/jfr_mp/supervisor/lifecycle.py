"""The life of a role process as a table: pure, no clock, no process.

`transition` takes the state of a process, an event and the time, and returns the next state and the actions of the
master. The names of the states are supervisord's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum, StrEnum, auto

from jfr_mp.errors import ExitCode


class State(StrEnum):
    """The state of a role process."""

    #: No process, and none is wanted.
    STOPPED = "STOPPED"
    #: There is a process that has not reported yet that it is ready.
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    #: It died; the next one starts after a pause.
    BACKOFF = "BACKOFF"
    #: It was told to stop.
    STOPPING = "STOPPING"
    #: It exited unasked after a good run; the next one starts at once.
    EXITED = "EXITED"
    #: It is not restarted: it died too often, or for a reason that a restart does not cure.
    FATAL = "FATAL"


class Action(Enum):
    """What the master does to a process."""

    SPAWN = auto()
    #: Ask it over the bus to stop after the current step.
    DRAIN = auto()
    TERM = auto()
    KILL = auto()
    #: Log that it is given up.
    ALARM = auto()


@dataclass(frozen=True)
class Policy:
    """How long a process may take, and when it is restarted. Times are in seconds.

    Parameters
    ----------
    ready_within
        How long a process may take until it is ready, or reports that it cannot be yet.
    startsecs
        How long a process has to be ready for its start to have succeeded.
    startretries
        How many failed starts in a row are followed by another start.
    stablesecs
        After how long a run the earlier deaths are forgotten.
    backoff, backoff_max
        The pause after the first death, doubled with each further one, and its limit.
    drain
        How long a process may take to finish the current step before it gets SIGTERM.
    term
        How long it may take after SIGTERM before it gets SIGKILL.
    """

    ready_within: float = 60.0
    startsecs: float = 1.0
    startretries: int = 4
    stablesecs: float = 10.0
    backoff: float = 0.1
    backoff_max: float = 10.0
    drain: float = 60.0
    term: float = 5.0


@dataclass(frozen=True)
class Start:
    """The process is wanted."""


@dataclass(frozen=True)
class Ready:
    """The process reported that it is ready."""


@dataclass(frozen=True)
class NotYet:
    """The process reported that it cannot be ready yet for a reason outside of it, such as a database that is down."""


@dataclass(frozen=True)
class Died:
    """The process exited, or could not be started; `status` is its exit status, None if it did not exit by itself."""

    why: str
    status: int | None = None


@dataclass(frozen=True)
class Stop:
    """The process is no longer wanted: it may finish the current step if `drain`, else it is killed."""

    drain: bool = True


@dataclass(frozen=True)
class Tick:
    """Time has passed."""


Event = Start | Ready | NotYet | Died | Stop | Tick


@dataclass(frozen=True)
class ChildState:
    """The state of a role process, with its history as far as the next state depends on it.

    Parameters
    ----------
    state
        Its state.
    since
        When it entered this state (monotonic seconds, as all times here).
    deadline
        From when on a `Tick` changes the state; None if none does.
    deaths
        Deaths in a row, without a long run between them.
    failed_starts
        Deaths in a row before, or soon after, being ready.
    restarts
        How often it was restarted.
    escalation
        The last action to stop a process that is STOPPING.
    last_error
        Why it died the last time.
    """

    state: State = State.STOPPED
    since: float = 0.0
    deadline: float | None = None
    deaths: int = 0
    failed_starts: int = 0
    restarts: int = 0
    escalation: Action | None = None
    last_error: str | None = None


Change = tuple[ChildState, list[Action]]
_Rule = Callable[[ChildState, Event, float, Policy], Change]

#: Exit codes after which a new process would exit in the same way: the user has to change something first.
_HOPELESS = frozenset({ExitCode.USAGE, ExitCode.CONFIG, ExitCode.ALREADY_RUNNING})
#: Exit codes after which restarts go on without a limit: the database comes back.
_UNLIMITED = frozenset({ExitCode.DATABASE})


def transition(child: ChildState, event: Event, now: float, policy: Policy) -> Change:
    """Return the next state of a process and the actions of its master.

    Parameters
    ----------
    child
        Its state.
    event
        What happened. An event that means nothing in this state, such as a late `Ready`, changes nothing.
    now
        Monotonic time in seconds.
    policy
        How long things may take.
    """
    if isinstance(event, Tick) and (child.deadline is None or now < child.deadline):
        return child, []
    rule = _TABLE.get((child.state, type(event)))
    return rule(child, event, now, policy) if rule else (child, [])


def _enter(child: ChildState, state: State, now: float, deadline: float | None = None) -> ChildState:
    return replace(child, state=state, since=now, deadline=deadline, escalation=None)


def _start(child: ChildState, event: Event, now: float, policy: Policy) -> Change:
    return _enter(child, State.STARTING, now, now + policy.ready_within), [Action.SPAWN]


def _start_afresh(child: ChildState, event: Event, now: float, policy: Policy) -> Change:
    return _start(replace(child, deaths=0, failed_starts=0), event, now, policy)


def _start_again(child: ChildState, event: Event, now: float, policy: Policy) -> Change:
    return _start(replace(child, restarts=child.restarts + 1), event, now, policy)


def _run(child: ChildState, event: Event, now: float, policy: Policy) -> Change:
    return _enter(child, State.RUNNING, now), []


def _wait_longer(child: ChildState, event: Event, now: float, policy: Policy) -> Change:
    return child if child.escalation else replace(child, deadline=now + policy.ready_within), []


def _not_ready(child: ChildState, event: Event, now: float, policy: Policy) -> Change:
    why = f"was not ready within {policy.ready_within:g} s"
    return replace(child, deadline=None, escalation=Action.KILL, last_error=why), [Action.KILL]


def _died(child: ChildState, event: Event, now: float, policy: Policy) -> Change:
    assert isinstance(event, Died)
    ran = now - child.since if child.state is State.RUNNING else 0.0
    # The reason of a process that was killed because it was not ready is that, not the signal.
    why = child.last_error if child.escalation is Action.KILL else event.why
    deaths = 1 if ran >= policy.stablesecs else child.deaths + 1
    failed_starts = 0 if ran >= policy.startsecs else child.failed_starts + 1
    child = replace(child, deaths=deaths, failed_starts=failed_starts, last_error=why)
    exhausted = failed_starts > policy.startretries and event.status not in _UNLIMITED
    if exhausted or event.status in _HOPELESS:
        return _enter(child, State.FATAL, now), [Action.ALARM]
    if deaths == 1 and not failed_starts:
        return _enter(child, State.EXITED, now, deadline=now), []
    # The exponent is bounded because a process without a limit may die any number of times.
    pause = min(policy.backoff_max, policy.backoff * 2 ** min(deaths - 1, 32))
    return _enter(child, State.BACKOFF, now, deadline=now + pause), []


def _stop(child: ChildState, event: Event, now: float, policy: Policy) -> Change:
    assert isinstance(event, Stop)
    if not event.drain:
        return _escalate(child, Action.KILL, now, None)
    # A process that is not ready has no current step, and may not read the bus yet.
    if child.state is State.STARTING:
        return _escalate(child, Action.TERM, now, now + policy.term)
    return _escalate(child, Action.DRAIN, now, now + policy.drain)


def _stop_harder(child: ChildState, event: Event, now: float, policy: Policy) -> Change:
    if isinstance(event, Stop) and event.drain:
        return child, []
    if isinstance(event, Tick) and child.escalation is Action.DRAIN:
        return _escalate(child, Action.TERM, now, now + policy.term)
    return _escalate(child, Action.KILL, now, None)


def _escalate(child: ChildState, action: Action, now: float, deadline: float | None) -> Change:
    return replace(_enter(child, State.STOPPING, now, deadline), escalation=action), [action]


def _stopped(child: ChildState, event: Event, now: float, policy: Policy) -> Change:
    return _enter(child, State.STOPPED, now), []


_TABLE: dict[tuple[State, type[Event]], _Rule] = {
    (State.STOPPED, Start): _start_afresh,
    (State.FATAL, Start): _start_afresh,
    (State.STARTING, Ready): _run,
    (State.STARTING, NotYet): _wait_longer,
    (State.STARTING, Died): _died,
    (State.STARTING, Tick): _not_ready,
    (State.STARTING, Stop): _stop,
    (State.RUNNING, Died): _died,
    (State.RUNNING, Stop): _stop,
    (State.EXITED, Tick): _start_again,
    (State.EXITED, Stop): _stopped,
    (State.BACKOFF, Tick): _start_again,
    (State.BACKOFF, Stop): _stopped,
    (State.STOPPING, Tick): _stop_harder,
    (State.STOPPING, Stop): _stop_harder,
    (State.STOPPING, Died): _stopped,
}
