"""A new step is a row in the step table and a module: everything else derives from the row."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import jfr_mp
from jfr_mp import submit_flow
from tests.support import jobs
from tests.support.projects import ProjectFactory

SOURCES = Path(jfr_mp.__file__).parent

#: The row: PAUSED jobs go on by themselves, which a project may want.
ROW = """
RELEASE = Step(
    name="release",
    role=Role.CHECKOUT,
    sources=(S.PAUSED,),
    targets=(S.READY,),
    summary="let a job that was paused go on",
    function="jfr_mp.steps.release:run",
    interval="delay_checkout",
    fault_points=(("before_decision", "the job is looked at"),),
)

STEPS = (RELEASE, """

MODULE = '''
"""PAUSED to READY."""

from jfr_mp.faultpoints import reach
from jfr_mp.outcomes import Advance
from jfr_mp.states import JobState


def run(job, site, services):
    """Let the job go on, and leave a mark."""
    reach("release.before_decision")
    return Advance(JobState.READY, {"stored_data": {"released_on": site.name}})
'''


@pytest.fixture
def extended(tmp_path: Path) -> dict[str, str]:
    """Copy the package, add a row and a module, and return the environment in which the copy is used."""
    package = tmp_path / "extended" / "jfr_mp"
    shutil.copytree(SOURCES, package, ignore=shutil.ignore_patterns("__pycache__"))
    table = package / "step_table.py"
    text = table.read_text()
    assert "\nSTEPS = (" in text
    table.write_text(text.replace("\nSTEPS = (", ROW))
    (package / "steps" / "release.py").write_text(MODULE)
    return {"PYTHONPATH": f"{package.parent}:{os.environ.get('PYTHONPATH', '')}"}


def python(code: str, extended: dict[str, str]) -> str:
    """Run code with the extended package and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env={**os.environ, **extended},
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    return done.stdout


def test_a_step_is_a_row_and_a_module(fresh_project: ProjectFactory, extended: dict[str, str]) -> None:
    # Given a paused job
    project = fresh_project()
    (db_id,) = submit_flow(jobs.add(1))
    project.db.jobs.update_one({"db_id": db_id}, {"$set": {"state": "PAUSED"}})

    # When a runner with the new step runs
    python("from jfr_mp import Runner; Runner().run(ticks=2, transfer=False, queue=False, complete=False)", extended)

    # Then it has done the step, and the next one
    job = project.db.jobs.find_one({"db_id": db_id})
    assert job is not None
    assert (job["state"], job["stored_data"]) == ("CHECKED_OUT", {"released_on": "local"})


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("sum(name.startswith('release.') for name in POINTS)", "4"),
        ("JobState.PAUSED in wake_states([Role.CHECKOUT])", "True"),
        ("step_from(JobState.PAUSED).name", "release"),
        ("[step.name for step in steps_of(Role.CHECKOUT)]", "[release, checkout]"),
    ],
    ids=["fault points", "wake-ups", "explain", "tasks of the role"],
)
def test_the_rest_derives_from_the_row(extended: dict[str, str], expression: str, value: str) -> None:
    code = (
        "from jfr_mp.faultpoints import POINTS; from jfr_mp.states import JobState; from jfr_mp.step_table import *; "
        f"print({expression})"
    )
    assert python(code, extended).strip().replace("'", "") == value
