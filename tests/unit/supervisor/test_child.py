"""The command line of a role process, and the cause of its death."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import pytest

from jfr_mp.config import LogLevel
from jfr_mp.step_table import Role
from jfr_mp.supervisor.child import Child, ChildArguments, ChildSpec, ColdStart, specs
from jfr_mp.supervisor.lifecycle import Died
from jfr_mp.supervisor.logfile import LogFile
from tests.support.waiting import wait_until

SPEC = ChildSpec(Role.QUEUE, "queue-1")


def test_each_process_of_a_role_has_a_name() -> None:
    assert [spec.name for spec in specs({Role.CHECKOUT: 1, Role.TRANSFER: 2, Role.QUEUE: 0})] == [
        "checkout-1",
        "transfer-1",
        "transfer-2",
    ]


def test_the_command_line_of_a_role_process() -> None:
    # When
    argv = ColdStart("my project").command_line(ChildArguments(SPEC, Path("/run/7"), LogLevel.DEBUG, 5))
    # Then
    assert argv[:4] == [sys.executable, "-P", "-m", "jfr_mp.role_process"]
    pairs = dict(zip(argv[4::2], argv[5::2], strict=True))
    assert pairs == {
        "--project": "my project",
        "--role": "queue",
        "--name": "queue-1",
        "--run-dir": "/run/7",
        "--log-level": "debug",
        "--lifeline-fd": "5",
    }


class OneCommand(ColdStart):
    def __init__(self, *argv: str) -> None:
        super().__init__("main")
        self._argv = list(argv)

    def command_line(self, arguments: ChildArguments) -> list[str]:
        return self._argv


def arguments(lifeline: int) -> ChildArguments:
    return ChildArguments(SPEC, Path("/run/7"), LogLevel.INFO, lifeline)


@pytest.mark.parametrize(
    ("code", "death"),
    [
        ("print('fine')", Died("exit status 0\nfine", 0)),
        ("raise SystemExit('bad luck')", Died("exit status 1\nbad luck", 1)),
        ("print('said before'); raise SystemExit(3)", Died("exit status 3\nsaid before", 3)),
        ("import os; print('x', flush=True); os.kill(os.getpid(), 9)", Died("killed by SIGKILL")),
        ("import os, signal; print('x', flush=True); os.kill(os.getpid(), 6)", Died("killed by SIGABRT\nx")),
    ],
)
def test_the_cause_of_death(tmp_path: Path, code: str, death: Died) -> None:
    # Given
    child = Child(SPEC, LogFile(tmp_path / "queue-1.log"))
    child.log.path.write_text("what the process before had printed\n")
    lifeline, other_end = os.pipe()
    # When
    child.spawn(OneCommand(sys.executable, "-c", code), arguments(lifeline))
    # Then
    assert child.pid is not None
    assert wait_until(child.reap, 20, "its death") == death
    assert child.reap() is None
    assert child.pid is None
    child.signal(signal.SIGTERM)
    os.close(lifeline)
    os.close(other_end)


def test_a_command_that_does_not_exist(tmp_path: Path) -> None:
    child = Child(SPEC, LogFile(tmp_path / "queue-1.log"))
    reading, writing = os.pipe()
    with pytest.raises(OSError, match="nothing-of-the-kind"):
        child.spawn(OneCommand("/nothing-of-the-kind"), arguments(reading))
    assert child.pid is None
    assert child.reap() is None
    os.close(reading)
    os.close(writing)
