"""The web server of a project, as `jfr-mp gui` starts it, and a browser without scripts."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.mongod import Mongod
from tests.support.processes import JFR_MP, Processes
from tests.support.projects import ProjectFactory, TestProject
from tests.support.waiting import wait_until

_LINK = re.compile(r"(https?://[^/\s]+)/login\?token=([\w-]+)")
_CSRF = re.compile(r'name="csrf" value="([^"]+)"')


class GuiServer:
    """A server in a process of its own.

    Parameters
    ----------
    processes
        Starts the process.
    env
        Its environment, which chooses the project.
    words
        Further words of the command line.
    """

    def __init__(self, processes: Processes, env: Mapping[str, str], *words: str) -> None:
        self._processes = processes
        self.process = processes.start([JFR_MP, "gui", *words], env={**env, "PYTHONUNBUFFERED": "1"})
        wait_until(lambda: bool(self.links), 20, "the link of the server")
        self.base = _LINK.findall(self.output)[0][0]

    @property
    def links(self) -> list[str]:
        """The tokens of the links that were printed."""
        return [token for _, token in _LINK.findall(self.output)]

    @property
    def output(self) -> str:
        """What the server has printed."""
        return self._processes.output(self.process)

    def browser(self, **settings: Any) -> Browser:
        """Return a browser that is not logged in."""
        return Browser(base_url=self.base, **settings)

    def operator(self) -> Browser:
        """Return a browser of the user who has started the server."""
        browser = self.browser()
        known = len(self.links)
        answer = browser.get(f"/login?token={self.links[-1]}")
        assert answer.status_code == 303, answer.text
        wait_until(lambda: len(self.links) > known, 10, "another link")
        return browser


class Browser(httpx.Client):
    """A client with cookies, which sends forms with the token of its last page."""

    csrf = ""

    def page(self, path: str, status: int = 200) -> str:
        """Return a page."""
        answer = self.get(path)
        assert answer.status_code == status, answer.text
        if found := _CSRF.search(answer.text):
            self.csrf = found[1]
        return answer.text

    def submit(self, path: str, status: int = 200, **fields: Any) -> str:
        """Send a form, with the token of the last page, and return the answer."""
        answer = self.post(path, data={"csrf": self.csrf, **fields})
        assert answer.status_code == status, answer.text
        return answer.text


@dataclass(frozen=True)
class Ground:
    """Where throwaway projects live that outlast one test.

    Parameters
    ----------
    directory
        Where all their files are.
    mongod
        Their database server.
    factory
        Makes the projects.
    processes
        Starts the processes.
    """

    directory: Path
    mongod: Mongod
    factory: ProjectFactory
    processes: Processes


@contextmanager
def ground(mongod: Mongod | None = None) -> Iterator[Ground]:
    """Prepare what throwaway projects need, and remove every trace of them.

    Parameters
    ----------
    mongod
        The server to use; a replica set of one for this ground alone by default.
    """
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="jfr-mp-ground-")))
        (directory / "logs").mkdir()
        processes = Processes(directory / "logs")
        stack.callback(processes.end_all)
        if mongod is None:
            mongod = Mongod(directory / "mongod", replica_set="rs_ground")
            stack.callback(mongod.close)
            mongod.start()
        factory = ProjectFactory(directory, stack.enter_context(pytest.MonkeyPatch.context()), mongod)
        stack.callback(factory.remove)
        yield Ground(directory, mongod, factory, processes)


def addresses(project: TestProject) -> dict[str, str]:
    """Return the path of each kind of page, by name; the project needs a flow and a failed job."""
    failed = project.db.jobs.find_one({"state": "FAILED"})
    flow = project.db.flows.find_one(sort=[("_id", 1)])
    assert failed is not None
    assert flow is not None
    pages = {
        "overview": "",
        "jobs": "jobs",
        "flows": "flows",
        "flow": f"flows/{flow['uuid']}",
        "job": f"jobs/{failed['db_id']}",
        "queue": f"jobs/{failed['db_id']}/queue",
        "workers": "workers",
        "batches": "batches",
        "log": "log",
        "preview": f"jobs/act?action=rerun&db_ids={failed['db_id']}",
    }
    return {name: f"/p/{project.name}/{path}" for name, path in pages.items()}
