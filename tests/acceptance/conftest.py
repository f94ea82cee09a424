"""Users of the command line: one with a project of its own, and one whose master is running and shared by a module."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.mongod import Mongod
from tests.support.projects import ProjectFactory, TestProject
from tests.support.sshd import Sshd, running
from tests.support.user import User

NewUser = Callable[..., User]


@pytest.fixture
def new_user(fresh_project: ProjectFactory, tmp_path: Path) -> NewUser:
    """Call it to get a user with a fresh project; the arguments are those of `fresh_project`."""

    def make(name: str = "main", **fields: Any) -> User:
        desk = tmp_path / "desk"
        desk.mkdir(exist_ok=True)
        return User(fresh_project(name, **fields), desk)

    return make


@pytest.fixture
def user(new_user: NewUser) -> User:
    """A user with a fresh project, in which nothing runs."""
    return new_user()


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Path]:
    """A file for which jobs wait until the test is over."""
    path = tmp_path / "gate"
    yield path
    path.touch()


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sshd]:
    """A server whose login shell talks, and finds jfr-mp and the jobs of the tests."""
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    server = Sshd(tmp_path / "cluster")
    server.offer_jfr_mp()
    profile = server.home / ".bash_profile"
    profile.write_text(f"echo 'Welcome! Password:'; echo Beware >&2\n{profile.read_text()}")
    yield from running(server)


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory, mongod_replica: Mongod) -> Iterator[User]:
    """A user whose master runs, with everything in the project that jobs can ask for.

    The tests of a module share it: they leave it running, and look at their own jobs only.
    """
    directory = tmp_path_factory.mktemp("busy")
    desk = directory / "desk"
    desk.mkdir()
    (directory / "a file").touch()
    with pytest.MonkeyPatch.context() as monkeypatch:
        factory = ProjectFactory(directory, monkeypatch, mongod_replica)
        project = _busy_project(factory, directory)
    try:
        user = User(project, desk)
        user.ok("start", "--log-level", "debug")
        yield user
    finally:
        factory.remove()


def _busy_project(factory: ProjectFactory, directory: Path) -> TestProject:
    readonly = {"type": "local", "scheduler_type": "shell", "work_dir": str(directory / "a file" / "work")}
    project = factory(
        "busy",
        exec_config={"greeting": {"export": {"GREETING": "it's $HOME"}, "post_run": 'printf %s "$GREETING" > said'}},
        # A job whose whole process group was killed is found by asking the scheduler.
        runner={"delay_check_run_status": 2},
        workers={"readonly": readonly},
    )
    project.rewrite(
        jobstore=_jobstore(project, "outputs"), optional_jobstores={"archive": _jobstore(project, "archive")}
    )
    return project


def _jobstore(project: TestProject, name: str) -> dict[str, Any]:
    """Return a JobStore in the database of the project, with an additional store for the data named `data`."""
    store = project.server.store
    return {
        "docs_store": store(project.db.name, name),
        "additional_stores": {"data": store(project.db.name, f"{name}_data")},
    }
