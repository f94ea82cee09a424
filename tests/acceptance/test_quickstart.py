"""The quickstart as a newcomer meets it: it ends well, it starts afresh, and nothing of it outlives a signal."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jfr_mp.examples.sandbox import MARK
from tests.support.processes import ROOT, Processes, pids_with, run
from tests.support.waiting import wait_until

DRIVER = [sys.executable, "-m", "jfr_mp.examples.quickstart"]

#: Something that the quickstart prints on its way, after which to interrupt it.
MOMENTS = {
    "while it begins": r"^",
    "while the master starts": r"ready .*MongoDB",
    "while jobs run": r"relax Cu +RUNNING",
    "while new jobs run": r"strain .* RUNNING",
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The directory of a quickstart, with a home directory and settings of the user that must stay as they are."""
    users = tmp_path / "user"
    users.mkdir()
    monkeypatch.setenv("HOME", str(users))
    monkeypatch.setenv("JFREMOTE_PROJECT", "production")
    (users / ".jfremote.yaml").write_text("not: [a valid settings file")
    monkeypatch.setenv("COLUMNS", "120")
    yield tmp_path / "quickstart"
    assert sorted(path.name for path in users.iterdir()) == [".jfremote.yaml"]


def left(home: Path) -> list[int]:
    """Return the processes of the quickstart in this directory that still run."""
    token = home / "run" / "token"
    return pids_with(MARK, token.read_text()) if token.exists() else []


@pytest.mark.timeout(240)
def test_it_ends_well_twice_and_leaves_no_process(home: Path) -> None:
    for _ in range(2):
        # When it runs, for the second time in what the first run left
        done = run([*DRIVER, str(home)], env=os.environ, timeout=110)

        # Then it prints the result, where everything is, and nothing of it runs any more
        assert done.returncode == 0, done.stdout + done.stderr
        assert re.search(r"lattice constant +3\.5[89]\d\d Å", done.stdout)
        assert re.search(r"bulk modulus +13\d\.\d GPa", done.stdout)
        assert (home / "equation-of-state-Cu.png").read_bytes().startswith(b"\x89PNG")
        assert str(home / "run" / "projects" / "quickstart.yaml") in done.stdout
        assert done.stdout.count("COMPLETED") == 10
        assert left(home) == []


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("how", ["SIGINT to the process", "SIGTERM to the process", "SIGINT to the group"])
def test_a_signal_at_any_moment_leaves_no_process(home: Path, processes: Processes, moment: str, how: str) -> None:
    # Given a quickstart at some moment
    driver = processes.start([*DRIVER, str(home)])
    number = signal.Signals[how.split(maxsplit=1)[0]]
    wait_until((home / "run" / "token").exists, 20, "the sandbox")
    wait_until(lambda: re.search(MOMENTS[moment], processes.output(driver)), 60, moment)

    # When it gets a signal
    (os.killpg if how.endswith("group") else os.kill)(driver.pid, number)

    # Then it ends with the status of that signal, and everything with it
    assert driver.wait(timeout=45) == 128 + number, processes.output(driver)
    assert left(home) == []
    assert "Traceback" not in processes.output(driver)


def test_what_a_killed_quickstart_left_is_ended_by_the_next(home: Path, processes: Processes) -> None:
    # Given one that was killed while its jobs ran
    driver = processes.start([*DRIVER, str(home)])
    wait_until(lambda: re.search(MOMENTS["while jobs run"], processes.output(driver)), 60, "a running job")
    driver.kill()
    driver.wait()
    orphans = left(home)
    token = (home / "run" / "token").read_text()
    assert orphans

    # When another one runs in the same directory
    done = run([*DRIVER, str(home)], env=os.environ, timeout=110)

    # Then it ends well, and the processes of the first are gone
    assert done.returncode == 0, done.stdout + done.stderr
    assert pids_with(MARK, token) == []


@pytest.mark.timeout(600)
def test_script_works_from_a_bare_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a checkout that has never been used
    checkout = tmp_path / "checkout"
    files = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        text=True,
        capture_output=True,
        check=True,
    )
    for name in files.stdout.splitlines():
        if (source := ROOT / name).is_file():
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            (checkout / name).write_bytes(source.read_bytes())
    script = checkout / "scripts" / "quickstart"
    script.chmod(0o755)

    # When the script is run in it
    done = run([str(script)], env=os.environ, timeout=550)

    # Then it ends well, and everything is in one place
    assert done.returncode == 0, done.stdout + done.stderr
    assert "GPa" in done.stdout
    home = checkout / ".quickstart"
    assert {path.name for path in home.iterdir()} >= {"venv", "run", "equation-of-state-Cu.png"}
    assert left(home) == []
