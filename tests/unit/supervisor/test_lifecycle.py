"""The life of a role process, as histories of events with a clock of their own."""

from __future__ import annotations

from dataclasses import replace

import pytest

from jfr_mp.errors import ExitCode
from jfr_mp.supervisor.lifecycle import (
    Action,
    ChildState,
    Died,
    Event,
    NotYet,
    Policy,
    Ready,
    Start,
    State,
    Stop,
    Tick,
    transition,
)

POLICY = Policy(
    ready_within=60, startsecs=1, startretries=2, stablesecs=10, backoff=0.5, backoff_max=4, drain=30, term=5
)
SPAWN, DRAIN, TERM, KILL, ALARM = Action
CRASH = Died("exit status 1", 1)
KILLED = Died("killed by SIGKILL")

# A history is rows of: time, event, the state it leads to, what is to be done.
History = list[tuple[float, Event, State, list[Action]]]
STARTED: History = [(0, Start(), State.STARTING, [SPAWN]), (2, Ready(), State.RUNNING, [])]

HISTORIES: dict[str, History] = {
    "a start": STARTED,
    "killed after a good run: replaced in the same turn": [
        *STARTED,
        (3, KILLED, State.EXITED, []),
        (3, Tick(), State.STARTING, [SPAWN]),
        (4, Ready(), State.RUNNING, []),
    ],
    "killed again soon: a pause, but it is never given up": [
        *STARTED,
        (100, KILLED, State.EXITED, []),
        (100, Tick(), State.STARTING, [SPAWN]),
        (101, Ready(), State.RUNNING, []),
        (103, KILLED, State.BACKOFF, []),
        (103.9, Tick(), State.BACKOFF, []),
        (104, Tick(), State.STARTING, [SPAWN]),
        (105, Ready(), State.RUNNING, []),
        (107, KILLED, State.BACKOFF, []),
        (109, Tick(), State.STARTING, [SPAWN]),
        (110, Ready(), State.RUNNING, []),
        (112, KILLED, State.BACKOFF, []),
        (116, Tick(), State.STARTING, [SPAWN]),
        (117, Ready(), State.RUNNING, []),
        (119, KILLED, State.BACKOFF, []),
        (122.9, Tick(), State.BACKOFF, []),
        (123, Tick(), State.STARTING, [SPAWN]),
    ],
    "a long run cancels the deaths before": [
        *STARTED,
        (2.5, KILLED, State.BACKOFF, []),
        (3, Tick(), State.STARTING, [SPAWN]),
        (4, Ready(), State.RUNNING, []),
        (14, KILLED, State.EXITED, []),
    ],
    "ready, but dead within startsecs: a failed start": [*STARTED, (2.9, KILLED, State.BACKOFF, [])],
    "a crash loop is given up": [
        (0, Start(), State.STARTING, [SPAWN]),
        (0.1, CRASH, State.BACKOFF, []),
        (0.5, Tick(), State.BACKOFF, []),
        (0.6, Tick(), State.STARTING, [SPAWN]),
        (0.7, CRASH, State.BACKOFF, []),
        (1.7, Tick(), State.STARTING, [SPAWN]),
        (1.8, CRASH, State.FATAL, [ALARM]),
        (99, Tick(), State.FATAL, []),
        (99, Stop(), State.FATAL, []),
        (99, Start(), State.STARTING, [SPAWN]),
        (100, CRASH, State.BACKOFF, []),
    ],
    "a wrong configuration is given up at once": [
        (0, Start(), State.STARTING, [SPAWN]),
        (1, Died("exit status 3", ExitCode.CONFIG), State.FATAL, [ALARM]),
    ],
    "a database that is down: restarted without a limit": [
        (0, Start(), State.STARTING, [SPAWN]),
        *(
            row
            for n in range(100, 2000, 100)
            for row in History(
                [
                    (n, Died("exit status 4", ExitCode.DATABASE), State.BACKOFF, []),
                    (n + 4, Tick(), State.STARTING, [SPAWN]),
                ]
            )
        ),
    ],
    "never ready": [
        (0, Start(), State.STARTING, [SPAWN]),
        (59.9, Tick(), State.STARTING, []),
        (60, Tick(), State.STARTING, [KILL]),
        (61, Tick(), State.STARTING, []),
        (61, NotYet(), State.STARTING, []),
        (62, KILLED, State.BACKOFF, []),
    ],
    "not ready yet, and it reports so": [
        (0, Start(), State.STARTING, [SPAWN]),
        (50, NotYet(), State.STARTING, []),
        (100, NotYet(), State.STARTING, []),
        (159, Tick(), State.STARTING, []),
        (159, Ready(), State.RUNNING, []),
        (1000, Tick(), State.RUNNING, []),
        (1000, NotYet(), State.RUNNING, []),
    ],
    "a stop in time": [
        *STARTED,
        (5, Stop(), State.STOPPING, [DRAIN]),
        (20, Died("", 0), State.STOPPED, []),
    ],
    "a stop beyond its deadlines": [
        *STARTED,
        (5, Stop(), State.STOPPING, [DRAIN]),
        (6, Stop(), State.STOPPING, []),
        (34, Tick(), State.STOPPING, []),
        (35, Tick(), State.STOPPING, [TERM]),
        (39, Tick(), State.STOPPING, []),
        (40, Tick(), State.STOPPING, [KILL]),
        (90, Tick(), State.STOPPING, []),
        (91, KILLED, State.STOPPED, []),
    ],
    "a stop that is hurried": [
        *STARTED,
        (5, Stop(), State.STOPPING, [DRAIN]),
        (6, Stop(drain=False), State.STOPPING, [KILL]),
        (6, KILLED, State.STOPPED, []),
    ],
    "a kill": [*STARTED, (5, Stop(drain=False), State.STOPPING, [KILL])],
    "a stop before it is ready": [
        (0, Start(), State.STARTING, [SPAWN]),
        (1, Stop(), State.STOPPING, [TERM]),
        (1.5, Ready(), State.STOPPING, []),
        (6, Tick(), State.STOPPING, [KILL]),
    ],
    "a stop during a pause": [
        (0, Start(), State.STARTING, [SPAWN]),
        (1, CRASH, State.BACKOFF, []),
        (1, Stop(), State.STOPPED, []),
        (99, Tick(), State.STOPPED, []),
    ],
    "a late message of a dead process changes nothing": [
        (0, Start(), State.STARTING, [SPAWN]),
        (1, CRASH, State.BACKOFF, []),
        (1, Ready(), State.BACKOFF, []),
    ],
}


def play(history: History) -> ChildState:
    child = ChildState()
    for now, event, state, actions in history:
        child, done = transition(child, event, now, POLICY)
        assert (child.state, done) == (state, actions), f"at {now} after {event}"
    return child


@pytest.mark.parametrize("history", HISTORIES.values(), ids=HISTORIES.keys())
def test_history(history: History) -> None:
    play(history)


@pytest.mark.parametrize(
    ("history", "restarts", "last_error"),
    [
        ("a start", 0, None),
        ("killed after a good run: replaced in the same turn", 1, "killed by SIGKILL"),
        ("a crash loop is given up", 2, "exit status 1"),
        ("never ready", 0, "was not ready within 60 s"),
        ("a stop in time", 0, None),
    ],
)
def test_what_a_history_leaves_for_the_status(history: str, restarts: int, last_error: str | None) -> None:
    # When
    child = play(HISTORIES[history])
    # Then
    assert (child.restarts, child.last_error) == (restarts, last_error)


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("event", [Start(), Ready(), NotYet(), CRASH, Stop(), Stop(drain=False), Tick()])
def test_every_state_accepts_every_event(state: State, event: Event) -> None:
    # Given
    child = replace(ChildState(), state=state, deadline=1.0)
    # When
    after, _ = transition(child, event, 2.0, POLICY)
    # Then
    assert after.state in State
    if isinstance(event, Stop):
        assert after.state in (State.STOPPING, State.STOPPED, State.FATAL)
