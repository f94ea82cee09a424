from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from jfr_mp.config.workers import RemoteWorker
from jfr_mp.errors import HostUnreachable
from jfr_mp.hosts import BaseHost, host_of
from tests.support.sshd import Agent, Sshd, running

#: Makes the host of a worker on a server; see `make_host`.
MakeHost = Callable[..., BaseHost]


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """A server that nobody stops or changes."""
    yield from running(Sshd(tmp_path_factory.mktemp("sshd") / "login"))


@pytest.fixture
def own_sshd(tmp_path: Path) -> Iterator[Sshd]:
    """A server for this test alone, which may stop, kill and change it."""
    yield from running(Sshd(tmp_path / "own"))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The HOME of the user who runs jfr-mp, without an SSH agent."""
    home = tmp_path / "my home"
    (home / ".ssh").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return home


@pytest.fixture
def agent(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Agent]:
    """The SSH agent of that user, without keys."""
    agent = Agent(tmp_path)
    monkeypatch.setenv("SSH_AUTH_SOCK", str(agent.socket))
    yield agent
    agent.close()


@pytest.fixture
def make_host(home: Path, tmp_path: Path) -> Iterator[MakeHost]:
    """Call it with a server and fields of the worker to change."""
    with ExitStack() as open_hosts:

        def make(server: Sshd, **fields: Any) -> BaseHost:
            described = server.worker(tmp_path, **{"connect_timeout": 5, "timeout_execute": 20, **fields})
            host = host_of(RemoteWorker.model_validate(described), tmp_path / "project")
            open_hosts.callback(host.close)
            return host

        yield make


def refusal(make_host: MakeHost, server: Sshd, **fields: Any) -> str:
    """Return the one line that says why a host cannot be reached."""
    with pytest.raises(HostUnreachable) as caught:
        make_host(server, **fields).connect()
    text = str(caught.value)
    assert "\n" not in text
    return text
