from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from jfr_mp.compat import MODULES


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False, timeout=60)


def test_every_name_of_the_table_is_there() -> None:
    # Given a statement for each module of the table
    lines = ["import jfr_mp.compat"]
    for below, names in MODULES.items():
        module = f"jobflow_remote.{below}".rstrip(".")
        lines += [f"import {module}", *(f"from {module} import {name}" for name in names)]

    # When all are run in a fresh process
    done = run("-c", "\n".join(lines))

    # Then each finds what it asks for
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("statement", "name"),
    [
        ("from jobflow_remote.jobs.runner import Sprinter", "jobflow_remote.jobs.runner.Sprinter"),
        ("import jobflow_remote.jobs.sprinter", "jobflow_remote.jobs.sprinter"),
    ],
)
def test_a_name_that_is_missing_is_an_import_error(statement: str, name: str) -> None:
    done = run("-c", f"import jfr_mp.compat\n{statement}")

    assert done.returncode == 1
    assert name in done.stderr
    assert "ModuleNotFoundError" in done.stderr or "ImportError" in done.stderr
    assert "install jobflow-remote" in done.stderr


def test_an_installed_jobflow_remote_is_left_alone(tmp_path: Path) -> None:
    # Given the original
    (tmp_path / "jobflow_remote.py").write_text("origin = 'original'\n")

    # When both are imported
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import jfr_mp.compat, jobflow_remote as j; print(j.origin)"
    )
    done = run("-c", code)

    # Then it is the original
    assert done.stdout.strip() == "original", done.stderr


def test_a_script_runs_unchanged(tmp_path: Path) -> None:
    # Given a script for jobflow-remote that is the main program and reads its arguments
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\nfrom jobflow_remote.jobs.state import JobState\n"
        "if __name__ == '__main__':\n    print(sys.argv[1:], JobState.READY.value)\n"
    )

    # Then it runs; and without a script the usage is shown
    done = run("-m", "jfr_mp.compat", str(script), "--flag", "x")
    assert done.stdout.strip() == "['--flag', 'x'] READY", done.stderr
    assert "usage" in run("-m", "jfr_mp.compat").stderr
