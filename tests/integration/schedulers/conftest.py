from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from jfr_mp import Runner
from tests.support.processes import ROOT
from tests.support.projects import ProjectFactory, TestProject
from tests.support.slurm import Slurm


@pytest.fixture
def project(fresh_project: ProjectFactory, slurm: Slurm) -> TestProject:
    """A project whose worker is the Slurm cluster."""
    return fresh_project(worker={"scheduler_type": "slurm", "pre_run": f"export PYTHONPATH={ROOT}"})


@pytest.fixture
def new_runner(project: TestProject) -> Iterator[Callable[[], Runner]]:
    """Call it to get a runner of the project."""
    with ExitStack() as stack:

        def new() -> Runner:
            runner = Runner()
            stack.callback(runner.cleanup)
            return runner

        yield new


@pytest.fixture
def runner(new_runner: Callable[[], Runner]) -> Runner:
    return new_runner()
