"""Fault points: nothing in production, one blow in one process where a test wants it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jfr_mp import faultpoints
from jfr_mp.faultpoints import POINTS, VARIABLE, Faults, InjectedFault
from jfr_mp.step_table import STEPS

SOURCES = Path(faultpoints.__file__).parent


def test_nothing_happens_in_production(tmp_path: Path) -> None:
    assert VARIABLE not in os.environ
    faultpoints.reach("no name is looked at")


def test_an_error_happens_once(tmp_path: Path) -> None:
    # Given a point that is armed
    faults = Faults(tmp_path)
    (tmp_path / "upload.after_put").write_text("error")

    # When it is reached several times, and another one before
    faults.reach("upload.before_put")
    with pytest.raises(InjectedFault, match="the input is on the worker"):
        faults.reach("upload.after_put")
    faults.reach("upload.after_put")

    # Then the file tells who it was
    assert [path.name for path in tmp_path.iterdir()] == [f"upload.after_put.{os.getpid()}"]


@pytest.mark.parametrize(("action", "status"), [("kill", signal.SIGKILL), ("stop", signal.SIGSTOP)])
def test_a_process_dies_or_stops(tmp_path: Path, action: str, status: signal.Signals) -> None:
    # Given a process with an armed point
    (tmp_path / "submit.after_submit").write_text(action)
    code = "from jfr_mp.faultpoints import reach; reach('submit.after_submit'); print('went on')"
    with subprocess.Popen(
        [sys.executable, "-c", code], env={**os.environ, VARIABLE: str(tmp_path)}, stdout=subprocess.PIPE, text=True
    ) as process:
        # When it comes there
        _, ended = os.waitpid(process.pid, os.WUNTRACED)

        # Then it is struck
        if action == "kill":
            assert os.WTERMSIG(ended) == status
            process.returncode = -status
            return
        assert os.WSTOPSIG(ended) == status
        process.send_signal(signal.SIGCONT)
        assert process.communicate(timeout=20)[0] == "went on\n"


def test_an_unknown_name_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        Faults(tmp_path).reach("upload.after_lunch")


def test_every_point_of_the_table_is_in_the_code_and_the_other_way_round() -> None:
    # Given the names in the code; those of every step are put together
    text = "\n".join(path.read_text() for path in SOURCES.rglob("*.py"))
    named = set(re.findall(r'reach\("([a-z_.]+)"\)', text))
    of_every_step = {
        f"{step.name}.{place}" for step in STEPS for place in re.findall(r'reach\(f"{step.name}\.(\w+)"\)', text)
    }

    # Then they are those of the table
    assert named | of_every_step == set(POINTS)
