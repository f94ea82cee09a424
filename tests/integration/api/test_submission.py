"""`submit_flow` from a script: what no worker can import is refused at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.projects import ProjectFactory

FUNCTION = """
from jobflow import job
from jfr_mp import submit_flow

@job
def double(a):
    return 2 * a

made = double(1)
"""
MAKER = """
from dataclasses import dataclass
from jobflow import Maker, job
from jfr_mp import submit_flow

@dataclass
class Doubler(Maker):
    name: str = "double"

    @job
    def make(self, a):
        return 2 * a

made = Doubler().make(1)
"""


@pytest.mark.parametrize(("text", "function"), [(FUNCTION, "double"), (MAKER, "Doubler.make")])
def test_a_script_with_its_own_functions(
    text: str, function: str, fresh_project: ProjectFactory, tmp_path: Path
) -> None:
    # Given a script that defines a job and submits it itself
    project = fresh_project()
    script = tmp_path / "my_flow.py"
    script.write_text(f"{text}\nsubmit_flow(made)\n")

    # When it is run, then one message says why that cannot work, and what does
    done = subprocess.run(
        [sys.executable, str(script)], env=dict(project.env), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    message = done.stderr.splitlines()[-1]
    assert f"its function {function} is defined in my_flow.py, which is being run" in message
    assert "Submit it with `jfr-mp submit my_flow.py`" in message
    assert project.db.jobs.count_documents({}) == 0

    # And that works
    script.write_text(text)
    command = [sys.executable, "-m", "jfr_mp", "submit", f"{script}:made"]
    done = subprocess.run(command, env=dict(project.env), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert project.db.jobs.count_documents({}) == 1
