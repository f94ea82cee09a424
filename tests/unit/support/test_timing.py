"""The marker `timing` in runs of pytest of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.processes import ROOT, run
from tests.support.timing import RERUNS

FAILS_AT_FIRST = """
import pathlib
import pytest

@pytest.mark.timing({arguments})
def test_that_fails_at_first():
    ran = pathlib.Path(__file__).with_name("ran")
    ran.write_text(ran.read_text() + "x" if ran.exists() else "x")
    assert len(ran.read_text()) > {failures}
"""


def run_pytest(directory: Path, arguments: str, *options: str, failures: int = 0) -> subprocess.CompletedProcess[str]:
    (directory / "pytest.ini").write_text(f"[pytest]\npythonpath = {ROOT}\n")
    (directory / "conftest.py").write_text('pytest_plugins = ["tests.support.timing"]\n')
    (directory / "test_it.py").write_text(FAILS_AT_FIRST.format(arguments=arguments, failures=failures))
    argv = [sys.executable, "-m", "pytest", "--strict-markers", "-p", "no:cacheprovider", *options, str(directory)]
    return run(argv, env={"PATH": "/usr/bin:/bin"})


@pytest.mark.parametrize("options", [(), ("-n", "1")], ids=["alone", "distributed"])
def test_a_marked_test_runs_again(tmp_path: Path, options: tuple[str, ...]) -> None:
    done = run_pytest(tmp_path, 'reason="it measures seconds"', *options, failures=RERUNS)
    assert done.returncode == pytest.ExitCode.OK, done.stdout
    assert f"{RERUNS} rerun" in done.stdout


def test_a_marked_test_that_keeps_failing_fails(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, 'reason="it measures seconds"', failures=RERUNS + 1)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED


def test_a_run_that_looks_for_flaky_tests_gives_no_second_chance(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, 'reason="it measures seconds"', "-p", "no:rerunfailures", failures=1)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED


@pytest.mark.parametrize("arguments", ["", "reason=''", "reason=None", "'it measures seconds'", "reason='x', reruns=9"])
def test_a_marker_without_a_reason_is_an_error(tmp_path: Path, arguments: str) -> None:
    done = run_pytest(tmp_path, arguments)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "test_it.py::test_that_fails_at_first: write @pytest.mark.timing(reason=" in done.stderr
    assert not (tmp_path / "ran").exists()
