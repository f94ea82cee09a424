"""Projects that both packages work on."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from jfr_mp import Runner
from tests.support.mongod import Mongod
from tests.support.peer import FAST, Peer
from tests.support.processes import run_cli
from tests.support.projects import ProjectFactory, TestProject


def shared_project(factory: ProjectFactory, name: str | None = None, **fields: Any) -> TestProject:
    """Make a project with an additional and an optional JobStore, in which the peer is as fast as it can be.

    Its name is its own, because the peer's processes are recognised by it and tests run at the same time.
    """
    project = factory(name or f"shared_{secrets.token_hex(4)}", runner=FAST, **fields)
    docs_store = project.document["jobstore"]["docs_store"]
    stores = {name: {**docs_store, "collection_name": name} for name in ("data", "other", "other_data")}
    project.rewrite(
        jobstore={"docs_store": docs_store, "additional_stores": {"data": stores["data"]}},
        optional_jobstores={
            "other": {"docs_store": stores["other"], "additional_stores": {"data": stores["other_data"]}}
        },
    )
    return project


@pytest.fixture
def project(fresh_project: ProjectFactory) -> Iterator[TestProject]:
    """A project that both packages work on."""
    # The directories of pytest are too long for the peer's socket.
    with tempfile.TemporaryDirectory(prefix="jfr-mp-", ignore_cleanup_errors=True) as daemon_dir:
        yield shared_project(fresh_project, daemon_dir=daemon_dir)


@pytest.fixture
def peer(peer_python: Path, project: TestProject) -> Peer:
    """jobflow-remote on that project."""
    return Peer(peer_python, project)


@pytest.fixture
def runner(open_runner: Callable[[str], Runner], project: TestProject) -> Runner:
    """Our runner on that project, in this process."""
    return open_runner(project.name)


@pytest.fixture
def open_runner(fresh_project: ProjectFactory) -> Iterator[Callable[[str], Runner]]:
    """Call it with the name of a project to get our runner on it, in this process."""
    with ExitStack() as stack:

        def open_one(name: str) -> Runner:
            runner = Runner(name)
            stack.callback(runner.cleanup)
            return runner

        yield open_one


@pytest.fixture
def started(project: TestProject) -> Iterator[Callable[..., None]]:
    """Call it with flags to start our processes; they are stopped with the test."""

    def start(*flags: str) -> None:
        result = run_cli("start", *flags, env=project.env)
        assert result.returncode == 0, result.stderr

    yield start
    run_cli("stop", env=project.env)


@pytest.fixture(scope="module")
def make_history(
    tmp_path_factory: pytest.TempPathFactory, mongod_replica: Mongod
) -> Iterator[Callable[[], TestProject]]:
    """Call it to get a shared project that lives as long as a test module, and leaves no trace."""
    with ExitStack() as stack:

        def make() -> TestProject:
            patch = stack.enter_context(pytest.MonkeyPatch.context())
            factory = ProjectFactory(tmp_path_factory.mktemp("history"), patch, mongod_replica)
            stack.callback(factory.remove)
            return shared_project(factory)

        yield make
