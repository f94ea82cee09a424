"""The sandbox of the quickstart: its files, its environment, its processes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jfr_mp.errors import AlreadyRunning
from jfr_mp.examples import sandbox as module
from jfr_mp.examples.sandbox import MARK, Sandbox
from tests.support.processes import Processes, is_alive
from tests.support.waiting import wait_until

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(99)"
)


@pytest.fixture
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """A renewed sandbox; the environment of this process is put back afterwards."""
    before = dict(os.environ)
    made = Sandbox(tmp_path / "home")
    made.renew()
    yield made
    made.end_processes()
    os.environ.clear()
    os.environ |= before


def test_settings_of_the_user_are_out_of_sight(tmp_path: Path, sandbox: Sandbox) -> None:
    # Given settings of the user
    os.environ["JFREMOTE_PROJECT"] = "production"
    os.environ["JOBFLOW_JOB_STORE"] = "production.yaml"

    # When the sandbox is made anew
    sandbox.renew()

    # Then they are gone, and all paths lead into the sandbox
    ours = {name: value for name, value in os.environ.items() if name.startswith(("JFREMOTE_", "JOBFLOW_"))}
    assert set(ours) == {"JFREMOTE_PROJECTS_FOLDER", "JFREMOTE_CONFIG_FILE", "JOBFLOW_CONFIG_FILE"}
    assert all(value.startswith(str(tmp_path)) for value in ours.values())


def test_second_quickstart_in_one_directory_is_refused(sandbox: Sandbox) -> None:
    with (
        sandbox.locked(),
        pytest.raises(AlreadyRunning, match=str(sandbox.home)),
        Sandbox(sandbox.home).locked(),
    ):
        pass

    # And allowed when the first has ended
    with Sandbox(sandbox.home).locked():
        pass


def test_files_of_the_last_run_are_deleted(sandbox: Sandbox) -> None:
    old = sandbox.run / "old"
    old.touch()

    sandbox.renew()

    assert not old.exists()
    assert sandbox.projects.is_dir()


def test_all_processes_end_and_no_others(
    sandbox: Sandbox, processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a process of ours that ignores SIGTERM, a child of another that has lost its parent, and a stranger
    monkeypatch.setattr(module, "GRACE", 0.3)
    deaf = processes.start([sys.executable, "-c", STUBBORN])
    wait_until(lambda: "deaf" in processes.output(deaf), 10, "the handler of the stubborn process")
    parent = processes.start(["sh", "-c", "sleep 99 & echo $!"])
    parent.wait()
    orphan = int(processes.output(parent))
    stranger = processes.start(["sleep", "99"], env={**os.environ, MARK: "somebody else's"})

    # When the sandbox ends its processes
    sandbox.end_processes()

    # Then only the stranger lives
    assert not is_alive(deaf.pid)
    assert not is_alive(orphan)
    assert is_alive(stranger.pid)


def test_what_a_killed_run_left_is_ended_by_the_next(sandbox: Sandbox, processes: Processes) -> None:
    # Given a process of a run that is no more
    left = processes.start(["sleep", "99"])

    # When another run begins in the same directory
    Sandbox(sandbox.home).renew()

    # Then it is ended
    assert not is_alive(left.pid)
