"""A server of the web page that the tests of a module share, one for a test alone, and users who are logged in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.gui import Browser, Ground, GuiServer, ground
from tests.support.mongod import Mongod
from tests.support.processes import Processes
from tests.support.projects import ProjectFactory, TestProject

#: Keeps the ids of jobs and the version of the database.
_KEPT = "jf_auxiliary"


@pytest.fixture(scope="module")
def place(mongod_replica: Mongod) -> Iterator[Ground]:
    with ground(mongod_replica) as place:
        yield place


@pytest.fixture(scope="module")
def shared_project(place: Ground) -> TestProject:
    """A project with two workers."""
    return place.factory(workers={"other": {"type": "local", "scheduler_type": "shell", "work_dir": "/tmp"}})


@pytest.fixture(scope="module")
def temporary(place: Ground) -> Path:
    """The directory for temporary files of the server."""
    directory = place.directory / "temporary"
    directory.mkdir()
    return directory


@pytest.fixture(scope="module")
def server(place: Ground, shared_project: TestProject, temporary: Path) -> GuiServer:
    """A server that no test stops or floods."""
    return GuiServer(place.processes, {**shared_project.env, "TMPDIR": str(temporary)}, "--port", "0")


@pytest.fixture
def project(shared_project: TestProject) -> TestProject:
    """The project of that server, without a job or a process."""
    for name in shared_project.db.list_collection_names():
        if name != _KEPT:
            shared_project.db[name].delete_many({})
    return shared_project


@pytest.fixture(scope="module")
def operator(server: GuiServer) -> Iterator[Browser]:
    """The user who has started that server, logged in once: logins are limited to five a minute."""
    with closing(server.operator()) as browser:
        yield browser


@pytest.fixture
def own_project(fresh_project: ProjectFactory) -> TestProject:
    return fresh_project()


@pytest.fixture
def own_server(own_project: TestProject, processes: Processes) -> GuiServer:
    """A server for this test alone."""
    return GuiServer(processes, own_project.env, "--port", "0")


@pytest.fixture
def own_operator(own_server: GuiServer) -> Iterator[Browser]:
    with closing(own_server.operator()) as browser:
        yield browser
