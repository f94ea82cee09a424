"""scripts/check_architecture.py on small source trees."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import ROOT, run

LAYERS = """
[[tool.importlinter.contracts]]
type = "layers"
layers = ["jfr_mp.cli", "(jfr_mp.database) : (jfr_mp.config)"]
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A checkout with three packages that break no rule."""
    (tmp_path / "pyproject.toml").write_text(LAYERS)
    for package in (".", "cli", "config", "database"):
        write(tmp_path, f"{package}/__init__.py", "")
    write(tmp_path, "database/queries.py", "def ready(db):\n    return db.jobs.find({'state': {'$in': ['READY']}})\n")
    write(tmp_path, "cli/job.py", "from jfr_mp.database import queries\n")
    return tmp_path


def write(tree: Path, name: str, text: str) -> None:
    path = tree / "src" / "jfr_mp" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def check(tree: Path, *options: str) -> subprocess.CompletedProcess[str]:
    script = str(ROOT / "scripts" / "check_architecture.py")
    return run([sys.executable, script, "--root", str(tree), *options], env={"PATH": "/usr/bin:/bin"})


def report(tree: Path, *options: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(check(tree, "--json", *options).stdout)
    return found


def test_a_tree_that_breaks_no_rule(tree: Path) -> None:
    done = check(tree)
    assert (done.returncode, done.stderr) == (0, "")
    assert "0 findings" in done.stdout


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("QUERY = {'state': {'$in': []}}", "$in"),
        ("def f(db): return db.jobs.count_documents({})", "jobs.count_documents()"),
        ("def f(db): return db['jobs'].find()", "jobs.find()"),
        ("def f(jobs): return jobs.watch([])", "jobs.watch()"),
    ],
)
def test_the_dialect_of_mongodb(tree: Path, text: str, said: str) -> None:
    # Given a query outside of the database package
    write(tree, "cli/job.py", f"import json\n\n{text}\n")

    # When, Then it is found, with its place
    done = check(tree)
    assert done.returncode == 1
    assert f"src/jfr_mp/cli/job.py:3: MongoDB's dialect outside of database: {said}" in done.stdout

    # And a report alone does not fail
    assert check(tree, "--report-only").returncode == 0


@pytest.mark.parametrize("text", ["AT = 'text'.find('x')", "PRICE = {'$5': 5}", "def f(bus): bus.watch(3)"])
def test_what_only_looks_like_the_dialect(tree: Path, text: str) -> None:
    write(tree, "cli/job.py", f"{text}\n")
    assert report(tree)["findings"] == []


def test_an_import_cycle_within_functions(tree: Path) -> None:
    # Given two modules that import each other, one of them when it is called
    write(tree, "cli/flow.py", "from jfr_mp.cli import job\n")
    write(tree, "cli/job.py", "def show():\n    from jfr_mp.cli import flow\n    return flow\n")

    # When, Then
    (finding,) = report(tree)["findings"]
    assert "import cycle: " in finding["text"]
    assert {"jfr_mp.cli.flow", "jfr_mp.cli.job"} <= set(finding["text"].split())


def test_an_import_for_type_checking_makes_no_cycle(tree: Path) -> None:
    write(tree, "cli/flow.py", "from jfr_mp.cli import job\n")
    write(
        tree,
        "cli/job.py",
        "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from jfr_mp.cli import flow\n",
    )
    assert check(tree).returncode == 0


def test_the_import_that_points_up_is_the_one_to_blame(tree: Path) -> None:
    # Given a cycle through two layers
    write(tree, "database/queries.py", "\ndef lazily():\n    from jfr_mp.cli import job\n    return job\n")

    # When, Then the lower module is named
    (finding,) = report(tree)["findings"]
    assert (finding["file"], finding["line"]) == ("src/jfr_mp/database/queries.py", 3)


def test_a_class_name_that_two_modules_have(tree: Path) -> None:
    for name in ("cli/job.py", "config/job.py"):
        write(tree, name, "\nclass Job:\n    pass\n")
    (finding,) = report(tree)["findings"]
    assert finding == {
        "file": "src/jfr_mp/config/job.py",
        "line": 2,
        "text": "class Job is also defined in src/jfr_mp/cli/job.py:2",
    }
    assert report(tree)["names"] == {"job": ["cli", "config"]}


def test_a_class_may_keep_the_name_of_its_base(tree: Path) -> None:
    write(tree, "config/job.py", "class Job:\n    pass\n")
    write(tree, "cli/job.py", "from jfr_mp.config import job\n\nclass Job(job.Job):\n    pass\n")
    assert report(tree)["findings"] == []


def test_a_figure_above_its_limit_fails(tree: Path) -> None:
    write(tree, "cli/job.py", "A = 1\n" * 401)
    done = check(tree)
    assert done.returncode == 1
    assert "TOO MUCH" in done.stdout


def test_the_figures_of_a_revision_stand_beside_todays(tree: Path) -> None:
    # Given a revision, and a module more since
    git = ["git", "-C", str(tree), "-c", "user.name=me", "-c", "user.email=me@example.org"]
    for argv in (["init", "-q"], ["add", "."], ["commit", "-qm", "begin"]):
        subprocess.run([*git, *argv], check=True)
    modules = len(list(tree.rglob("*.py")))
    write(tree, "cli/flow.py", "")

    # When, Then
    found = report(tree, "--base", "HEAD")
    assert found["base"]["modules"] == modules
    assert {figure["name"]: figure["value"] for figure in found["figures"]}["modules"] == modules + 1
