"""The fixtures that all tests share: real servers, throwaway projects, processes that always end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from tests.support.mongod import Mongod
from tests.support.processes import ROOT, Processes
from tests.support.projects import ProjectFactory
from tests.support.sge import GridEngine
from tests.support.slurm import Slurm

Server = TypeVar("Server", Mongod, Slurm, GridEngine)


@pytest.fixture(scope="session")
def mongod_replica(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongod]:
    """A replica set of one, which offers transactions and change streams."""
    yield from _running(Mongod(tmp_path_factory.mktemp("replica"), replica_set="rs_test"))


@pytest.fixture(scope="session")
def mongod_standalone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mongod]:
    """A server without transactions."""
    yield from _running(Mongod(tmp_path_factory.mktemp("standalone"), replica_set=None))


@pytest.fixture
def own_mongod(tmp_path: Path) -> Iterator[Mongod]:
    """A replica set of one for this test alone, which may stop or kill it."""
    yield from _running(Mongod(tmp_path / "mongod", replica_set="rs_own"))


@pytest.fixture
def fresh_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mongod_replica: Mongod) -> Iterator[ProjectFactory]:
    """Call it to get a project of its own database; see `ProjectFactory.__call__`."""
    factory = ProjectFactory(tmp_path, monkeypatch, mongod_replica)
    try:
        yield factory
    finally:
        factory.remove()


@pytest.fixture(scope="session")
def slurm_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """A cluster that all tests share; `slurm` is for one of them."""
    yield from _running(Slurm(tmp_path_factory.mktemp("slurm")))


@pytest.fixture
def slurm(slurm_server: Slurm, monkeypatch: pytest.MonkeyPatch) -> Iterator[Slurm]:
    """A cluster that this process and its children find, without a job of another test."""
    for name, value in slurm_server.env.items():
        monkeypatch.setenv(name, value)
    yield slurm_server
    slurm_server.cancel_all()


@pytest.fixture(scope="session")
def grid_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GridEngine]:
    """A Grid Engine that all tests share; who has its `bin` on PATH finds it."""
    yield from _running(GridEngine(tmp_path_factory.mktemp("sge")))


@pytest.fixture(scope="session")
def peer_python() -> Path:
    """The Python of a virtual environment that has jobflow-remote; its `jf` is beside it."""
    python = Path(os.environ.get("JFR_MP_PEER_PYTHON") or ROOT / ".tox" / "peer" / "bin" / "python")
    assert python.exists(), f"{python} does not exist: run `tox -e peer`, or set JFR_MP_PEER_PYTHON"
    return python


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """Starts processes in the background and ends them with the test."""
    log_dir = tmp_path / "processes"
    log_dir.mkdir()
    started = Processes(log_dir)
    try:
        yield started
    finally:
        started.end_all()


def _running(server: Server) -> Iterator[Server]:
    """Start a server for as long as a fixture lives."""
    try:
        server.start()
        yield server
    finally:
        server.close() if isinstance(server, Mongod) else server.stop()
