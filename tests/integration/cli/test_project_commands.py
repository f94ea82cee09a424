"""`jfr-mp project ...` and `jfr-mp plugin ...`: what a user does with project files."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from jfr_mp.config import ConfigManager
from jfr_mp.errors import ExitCode
from tests.integration.cli.conftest import Command
from tests.support.processes import run_cli
from tests.support.projects import ProjectFactory, TestProject

Ok = Callable[..., str]


@pytest.fixture
def project(fresh_project: ProjectFactory) -> TestProject:
    """A project with a worker that has a password, and an exec_config."""
    cluster = {
        "type": "remote",
        "host": "cluster.example.org",
        "password": "SECRET",
        "scheduler_type": "slurm",
        "work_dir": "/scratch/jobs",
        "max_jobs": 7,
    }
    return fresh_project(workers={"cluster": cluster}, exec_config={"gpu": {"modules": ["cuda"], "pre_run": "date"}})


@pytest.mark.parametrize("file_format", ["yaml", "json", "toml"])
@pytest.mark.parametrize("full", [False, True])
def test_an_example_of_a_project_is_a_valid_file(full: bool, file_format: str, project: TestProject, ok: Ok) -> None:
    # When an example is asked for
    said = ok("project", "generate", "silicon", "--format", file_format, *(["--full"] if full else []))

    # Then it is a project like any other, its file is private, and its name is taken now
    data = ConfigManager().get_project_data("silicon")
    assert str(data.filepath) in said
    assert data.ext == file_format
    assert stat.S_IMODE(data.filepath.stat().st_mode) == 0o600
    assert set(data.project.workers) == ({"cluster", "local"} if full else {"cluster"})
    assert ("timeout_execute" in data.filepath.read_text(), "delay_checkout" in data.filepath.read_text()) == (
        True,
        full,
    )


def test_a_project_is_removed_with_or_without_its_folders(project: TestProject, types: Command, ok: Ok) -> None:
    for name in ("one", "two"):
        ok("project", "generate", name)
    one, two = (ConfigManager().get_project(name) for name in ("one", "two"))

    # When nobody confirms, then everything stays
    refused = types("project", "remove", "one")
    assert (refused.code, "--yes" in refused.err, str(one.base_dir) in refused.err) == (ExitCode.ERROR, True, True)
    assert Path(one.base_dir).exists()

    # When it is removed, then its folder goes, or stays
    ok("project", "remove", "one", "-y")
    ok("project", "remove", "two", "-y", "-k")
    assert (Path(one.base_dir).exists(), Path(two.base_dir).exists()) == (False, True)
    assert list(ConfigManager().projects) == [project.name]

    # And one that never was is an error
    assert types("project", "remove", "one", "-y").code == ExitCode.CONFIG


def test_workers_and_exec_configs_are_listed_without_passwords(project: TestProject, types: Command, ok: Ok) -> None:
    for verbosity in ([], ["-v"], ["-vv"], ["--json"]):
        workers = ok("project", "worker", "list", *verbosity)
        assert all(name in workers for name in ("local", "cluster", "slurm"))
        assert ("/scratch/jobs" in workers) == bool(verbosity)
        assert "SECRET" not in workers
        configs = ok("project", "exec_config", "list", *verbosity)
        assert "gpu" in configs
        assert ("cuda" in configs) == bool(verbosity)
    assert types("project", "worker", "list", "--json").json["cluster"]["max_jobs"] == 7


def test_a_text_is_replaced_in_project_files(project: TestProject, types: Command, ok: Ok) -> None:
    ok("project", "generate", "other")
    other = ConfigManager().get_project_data("other").filepath
    before = project.project_file.read_text()

    # When a change is only to be shown, or is not confirmed, then nothing is changed
    assert "+" in ok("project", "edit", "replace", "cluster.example.org", "new.example.org", "--dry-run")
    assert "--yes" in types("project", "edit", "replace", "cluster.example.org", "new.example.org").err
    assert project.project_file.read_text() == before

    # When one of several files would not be valid, then none is changed
    refused = types("project", "edit", "replace", "remote", "remotely", "--all", "-y")
    assert (refused.code, "type" in refused.err) == (ExitCode.CONFIG, True)
    assert project.project_file.read_text() == before
    # nor when it would get the name of another one, or has no such text, or the text is empty
    assert "already exists" in types("project", "edit", "replace", f"name: {project.name}", "name: other", "-y").err
    assert types("project", "edit", "replace", "no such text", "x", "-y").code == ExitCode.ERROR
    assert types("project", "edit", "replace", "", "x", "-y").code == ExitCode.USAGE

    # When it is confirmed, then the chosen file is changed, and its old text is kept
    said = ok("project", "edit", "replace", "cluster.example.org", "new.example.org", "-y")
    assert project.project_file.read_text() == before.replace("cluster.example.org", "new.example.org")
    assert Path(f"{project.project_file}.bak.1").read_text() == before
    assert f"{project.project_file}.bak.1" in said
    assert "cluster.example.org" in other.read_text()

    # And with --all, all of them, without a copy if it is not wanted
    ok("project", "edit", "replace", "example.org", "example.com", "--all", "-y", "-nb")
    assert "new.example.com" in project.project_file.read_text()
    assert "cluster.example.com" in other.read_text()
    assert not Path(f"{other}.bak.1").exists()


def test_what_projects_must_not_share(project: TestProject, types: Command, ok: Ok) -> None:
    # Given a single project, then there is no conflict
    assert "1 project." in ok("project", "check-conflicts")

    # When a second one has the same queue and the same folder, as a copied file does
    yaml = YAML(typ="safe")
    document = yaml.load(project.project_file)
    copied = {**document, "name": "copied", "base_dir": str(project.base_dir)}
    with (project.project_file.with_name("copied.yaml")).open("w") as file:
        yaml.dump(copied, file)

    # Then each thing that they share is named with both projects
    found = types("project", "check-conflicts")
    assert found.code == ExitCode.CHECK_FAILED
    assert f"{project.base_dir} is shared by copied: base_dir, {project.name}: base_dir" in found.out
    rows = types("project", "check-conflicts", "--json").json
    assert {row["kind"] for row in rows} == {"directory", "collection"}
    assert len([row for row in rows if row["kind"] == "collection"]) == 4


def test_parts_of_a_project_are_checked(project: TestProject, types: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a variable with a misspelt name
    monkeypatch.setenv("JFREMOTE_CLI_SUGESTIONS", "0")

    # When parts are checked, then only these are
    tested = {row["what"] for row in types("project", "check", "-q", "-js", "--json").json}
    assert tested == {"queue database", "jobstore"}
    tested = {row["what"] for row in types("project", "check", "-w", "local", "-f", "--json").json}
    assert tested == {f"worker local: {part}" for part in ("work_dir", "scheduler", "command")}

    # And a worker that does not exist is an error that names the workers
    unknown = types("project", "check", "-w", "locl")
    assert (unknown.code, "local" in unknown.err) == (ExitCode.CONFIG, True)

    # When everything is checked, then the variable is found; what failed is repeated
    found = types("project", "check", "-e")
    assert found.code == ExitCode.CHECK_FAILED
    assert "JFREMOTE_CLI_SUGESTIONS is not a setting (did you mean 'JFREMOTE_CLI_SUGGESTIONS'?)" in found.out
    assert "worker cluster: connection:\n" in found.out


def test_a_broken_file_is_never_passed_over(
    project: TestProject, types: Command, ok: Ok, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a user with two projects, one of which is broken and who has chosen none
    project.project_file.with_name("broken.yaml").write_text("name: [")
    monkeypatch.delenv("JFREMOTE_PROJECT")

    # When a command needs a project, then it does not take the other one
    refused = types("job", "list")
    assert refused.code == ExitCode.CONFIG
    assert all(name in refused.err for name in ("broken", project.name, "-p NAME"))

    # When it is chosen, then the broken file is of no importance, except to a user who asks
    assert "broken" not in types("-p", project.name, "job", "list").err
    assert "broken.yaml" in types("-wp", "-p", project.name, "job", "list").err
    assert "broken.yaml" in types("-p", project.name, "project", "list", "-w").err


def test_the_project_is_named_if_there_is_a_choice(
    project: TestProject, ok: Ok, types: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a user at a terminal
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)

    # Then one project is not worth a word, and one of two is; a program is not disturbed by it
    named = f"Project {project.name} ({project.project_file})"
    assert named not in types("job", "list").err
    ok("project", "generate", "other")
    assert named in types("job", "list").err
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False)
    assert types("job", "list").err == ""


# Plug-ins


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three plug-ins of an installed package: a good one, a broken one, and one with the name of a command."""
    package = tmp_path / "packages"
    (package / "plug-1.dist-info").mkdir(parents=True)
    (package / "plug-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: plug\nVersion: 1\n")
    (package / "plug-1.dist-info" / "entry_points.txt").write_text(
        "[jfr_mp.plugins]\nhello = plug_of_test:app\nbroken = plug_of_test_missing:app\njob = plug_of_test:app\n"
    )
    (package / "plug_of_test.py").write_text(
        "import typer\napp = typer.Typer(help='Greets.')\n\n@app.command()\ndef world():\n    typer.echo('hello')\n"
        "\n@app.command()\ndef moon():\n    typer.echo('moon')\n"
    )
    monkeypatch.syspath_prepend(str(package))


@pytest.mark.usefixtures("plugins")
def test_a_plug_in_adds_a_command(
    project: TestProject, types: Command, ok: Ok, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Then its commands are commands, and the list shows them without importing anything
    assert ok("hello", "world") == "hello\n"
    listed = ok("--help")
    assert "Plug-ins" in listed
    assert "hello" in listed

    # And a broken one says what to do, and disturbs nothing else
    broken = types("broken")
    assert (broken.code, "jfr-mp plugin list --error" in broken.err) == (ExitCode.CONFIG, True)
    assert "Inspect and control jobs" in ok("job", "--help")
    found = types("plugin", "list")
    assert found.code == ExitCode.CHECK_FAILED
    assert "No module named 'plug_of_test_missing'" in found.out
    assert "jfr-mp has a command job" in found.out
    assert "Traceback" in types("plugin", "list", "-e").out
    rows = {row["name"]: row["error"] for row in types("plugin", "list", "--json").json}
    assert rows["hello"] is None

    # And the setting turns them off
    monkeypatch.setenv("JFREMOTE_CLI_LOAD_PLUGINS", "0")
    assert types("hello", "world").code == ExitCode.USAGE


_JOBFLOW_REMOTE_PLUGIN = """
import typer
from jobflow_remote import SETTINGS
from jobflow_remote.cli.jf import app
from jobflow_remote.cli.jfr_typer import JFRTyper
from jobflow_remote.cli.utils import get_job_controller, out_console

app_count = JFRTyper(name="count", help="Counts.", no_args_is_help=True)

@app_count.command()
def jobs():
    out_console.print("jobs:", get_job_controller().count_jobs())

def setup_jf_plugin():
    app.add_typer(app_count)
"""


def test_a_plug_in_of_jobflow_remote_runs_unchanged(project: TestProject, tmp_path: Path) -> None:
    # Given a plug-in that was written for jobflow-remote, and one that needs more of it than there is
    package = tmp_path / "packages"
    (package / "old-1.dist-info").mkdir(parents=True)
    (package / "old-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: old\nVersion: 1\n")
    (package / "old-1.dist-info" / "entry_points.txt").write_text(
        "[jobflow_remote.plugins]\ncounting = old_plugin\nrare = rare_plugin\n[jfr_mp.plugins]\ncount2 = nothing:app\n"
    )
    (package / "old_plugin.py").write_text(_JOBFLOW_REMOTE_PLUGIN)
    (package / "rare_plugin.py").write_text("from jobflow_remote.cli.formatting import fmt_datetime\n")
    env = {**project.env, "PYTHONPATH": f"{package}:{project.env['PYTHONPATH']}"}

    # Then the first one is a command, and works on the chosen project
    counted = run_cli("-p", project.name, "count", "jobs", env=env)
    assert (counted.stdout, counted.returncode) == ("jobs: 0\n", ExitCode.OK), counted.stderr
    assert "count" in run_cli("--help", env=env).stdout

    # Completion offers it among the others
    completing = {"_JFR_MP_COMPLETE": "complete_bash", "COMP_WORDS": "jfr-mp cou", "COMP_CWORD": "1"}
    offered = run_cli(env={**env, **completing})
    assert (offered.stdout.split(), offered.stderr) == (["count2", "count"], "")

    # And the other one is named with what is missing
    listed = run_cli("plugin", "list", env=env)
    assert listed.returncode == ExitCode.CHECK_FAILED
    assert "jfr-mp has no module jobflow_remote.cli.formatting" in listed.stdout


def test_the_tree_has_all_commands(ok: Ok) -> None:
    lines = ok("--tree").splitlines()
    assert "├── job: Inspect and control jobs" in lines
    assert any("set-state" in line for line in lines)
    assert not any(os.sep + "execution" in line or "── execution" in line for line in lines)
    assert ok("job", "set", "--tree").splitlines()[-1] == "└── priority: Let jobs start before or after others"


def test_a_profile_goes_to_standard_error(project: TestProject, types: Command) -> None:
    printed = types("--profile", "project", "list")
    assert project.name in printed.out
    assert "function calls" in printed.err
