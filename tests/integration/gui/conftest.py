"""A server of the web page for the project of a test module, and somebody who is logged in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.support.gui import Browser, GuiServer
from tests.support.processes import Processes
from tests.support.projects import TestProject


@pytest.fixture
def server(project: TestProject, processes: Processes) -> GuiServer:
    return GuiServer(processes, project.env, "--port", "0")


@pytest.fixture
def operator(server: GuiServer) -> Iterator[Browser]:
    with closing(server.operator()) as browser:
        yield browser
