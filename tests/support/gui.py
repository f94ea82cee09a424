"""The web server of a project, as `jfr-mp gui` starts it, and a browser without scripts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import httpx

from tests.support.processes import JFR_MP, Processes
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
