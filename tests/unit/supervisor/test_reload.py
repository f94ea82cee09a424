"""In which order a reload replaces role processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from jfr_mp.step_table import Role
from jfr_mp.supervisor.child import Child, ChildSpec
from jfr_mp.supervisor.lifecycle import ChildState, State
from jfr_mp.supervisor.logfile import LogFile
from jfr_mp.supervisor.reload import Roll


@pytest.fixture
def two(tmp_path: Path) -> list[Child]:
    names = ("transfer-1", "transfer-2")
    return [Child(ChildSpec(Role.TRANSFER, name), LogFile(tmp_path / name)) for name in names]


def enter(child: Child, state: State) -> None:
    child.life = ChildState(state)


@pytest.mark.parametrize("settled", [State.RUNNING, State.FATAL])
def test_the_next_process_is_replaced_when_the_one_before_it_is_ready_or_given_up(
    two: list[Child], settled: State
) -> None:
    roll = Roll()
    assert not roll.active
    roll.begin(two)
    assert roll.turn(lambda _: True) is two[0]
    for state in (State.STOPPING, State.STOPPED, State.STARTING, State.BACKOFF):
        enter(two[0], state)
        assert roll.turn(lambda _: True) is None
    enter(two[0], settled)
    assert roll.turn(lambda _: True) is two[1]
    assert roll.active
    enter(two[1], State.RUNNING)
    assert roll.turn(lambda _: True) is None
    assert not roll.active


def test_what_is_paused_meanwhile_is_not_waited_for(two: list[Child]) -> None:
    roll = Roll()
    roll.begin(two)
    roll.turn(lambda _: True)
    enter(two[0], State.STOPPED)
    assert roll.turn(lambda child: child is two[1]) is two[1]
    enter(two[1], State.STOPPED)
    assert roll.turn(lambda _: False) is None
    assert not roll.active


def test_a_second_reload_begins_again(two: list[Child]) -> None:
    roll = Roll()
    roll.begin(two)
    roll.turn(lambda _: True)
    enter(two[0], State.RUNNING)
    roll.begin(two)
    assert roll.turn(lambda _: True) is two[0]
