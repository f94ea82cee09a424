from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from jfr_mp.cli import worker_run_dir


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["execution", "run", "/a/b"], "/a/b"),
        (["-fe", "execution", "run", "/a/b"], "/a/b"),
        (["--full-exc", "execution", "run"], "."),
        (["execution", "run", "--help"], None),
        (["execution", "run", "a", "b"], None),
        (["-p", "main", "execution", "run", "a"], None),
        (["execution"], None),
        ([], None),
    ],
)
def test_the_worker_command_is_recognised(arguments: list[str], expected: str | None) -> None:
    assert worker_run_dir(arguments) == expected


#: What no command needs before it does something.
HEAVY = {
    *("pymongo", "zmq", "paramiko", "psutil", "jobflow", "maggma", "pydantic_settings"),
    *("jfr_mp.config", "jfr_mp.database", "jfr_mp.diagnosis", "jfr_mp.model"),
}


@pytest.mark.parametrize(
    ("arguments", "unwanted"),
    [
        # Then a worker loads nothing of the command line
        (["-fe", "execution", "run", "."], {"typer", "rich", "click", "pymongo", "zmq", "paramiko", "jfr_mp.config"}),
        # Then help loads nothing that only a running command needs
        (["--help"], HEAVY),
        (["job", "list", "--help"], HEAVY),
        (["project", "--help"], HEAVY),
        (["runner", "--help"], HEAVY),
        (["backup", "create", "--help"], HEAVY),
        (["flow", "report", "--help"], HEAVY | {"matplotlib"}),
        # And the commands that are only listed are not imported
        (["--help"], {f"jfr_mp.cli.{name}" for name in ("jobs", "flows", "processes", "projects", "upkeep")}),
        (["flow", "list", "--help"], {f"jfr_mp.cli.{name}" for name in ("jobs.job", "processes", "projects")}),
        # Then what prints one line loads nothing that formats text
        (["--version"], HEAVY | {"rich", "pydantic"}),
    ],
    ids=[
        "worker",
        "help",
        "help of a command",
        "project",
        "runner",
        "backup",
        "report",
        "list of commands",
        "one group",
        "version",
    ],
)
def test_a_command_starts_without_what_it_does_not_need(
    arguments: list[str], unwanted: set[str], tmp_path: Path
) -> None:
    # When a command runs that has nothing to do
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "jfr_mp", *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )

    # Then Python's own report of its imports has none of them
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "jfr_mp.cli" in imported
    assert not imported & unwanted


def test_an_unknown_command_is_a_wrong_usage() -> None:
    done = subprocess.run([sys.executable, "-m", "jfr_mp", "strat"], capture_output=True, text=True, check=False)

    assert done.returncode == 2
    assert "strat" in done.stderr
    assert "Traceback" not in done.stderr
