"""The units, judged by systemd itself."""

from __future__ import annotations

import getpass
import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from jfr_mp.config import Project
from jfr_mp.step_table import Role
from jfr_mp.supervisor.units import Scope, Units, systemd_version

LOCAL = {"type": "local", "scheduler_type": "shell", "work_dir": "/scratch/me"}
LOCAL_SLURM = LOCAL | {"scheduler_type": "slurm"}
REMOTE = {"type": "remote", "scheduler_type": "slurm", "work_dir": "/scratch/me", "host": "cluster"}
QUEUE = {"store": {"type": "MongoStore", "host": "db", "database": "main", "collection_name": "jobs"}}


def project(worker: dict[str, Any], name: str = "main", base_dir: str = "/srv/main", **options: Any) -> Project:
    fields = {"workers": {"one": worker}, "queue": QUEUE, "metadata": {"jfr_mp": options}}
    return Project.model_validate({"name": name, "base_dir": base_dir, **fields})


def units(scope: Scope, worker: dict[str, Any], version: int = 0, **fields: Any) -> Units:
    environment = {"PATH": "/opt/a b/bin:/usr/bin", "JFREMOTE_PROJECTS_FOLDER": '/me/50% "$x"', "EDITOR": "vi"}
    return Units(project(worker, **fields), scope, "daemon", version or systemd_version(), environment)


def written(some: Units, directory: Path) -> list[Path]:
    for name, text in some.files().items():
        (directory / name).write_text(text)
    return [directory / name for name in [*some.names(), *some.names(tuple(Role))]]


def analyze(*argv: str) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", *argv]
    # Units of Debian have sockets below it, and their paths have little room.
    with TemporaryDirectory(dir="/tmp") as runtime:
        environment = os.environ | {"XDG_RUNTIME_DIR": runtime}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("name", ["main", 'my "50%" $HOME'])
@pytest.mark.parametrize("worker", [LOCAL, REMOTE], ids=["local", "remote"])
@pytest.mark.parametrize("scope", Scope)
def test_systemd_accepts_every_unit(scope: Scope, worker: dict[str, Any], name: str, tmp_path: Path) -> None:
    # Given a project, perhaps with a name and paths that need quoting
    some = units(scope, worker, name=name, base_dir=f"/srv/{name}")
    paths = written(some, tmp_path)
    # When systemd reads the service of all roles and the service of each role
    done = analyze(f"--{scope}", "--man=no", "verify", *map(str, paths))
    # Then it has nothing to complain about
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("worker", [REMOTE, LOCAL_SLURM], ids=["remote", "local Slurm"])
def test_a_system_unit_without_jobs_is_hardened(worker: dict[str, Any], tmp_path: Path) -> None:
    for path in written(units(Scope.SYSTEM, worker), tmp_path):
        done = analyze("security", "--offline=yes", "--threshold=39", "--no-pager", str(path))
        assert done.returncode == 0, done.stdout.splitlines()[-1]


def test_an_exposed_unit_would_be_noticed(tmp_path: Path) -> None:
    path = tmp_path / "bare.service"
    path.write_text("[Service]\nExecStart=/bin/true\n")
    done = analyze("security", "--offline=yes", "--threshold=39", "--no-pager", str(path))
    assert done.returncode != 0


@pytest.fixture
def outside_tmp() -> Iterator[Path]:
    """A directory that is not below /tmp, which a unit opens as a whole."""
    with TemporaryDirectory(dir="/var/tmp") as name:
        yield Path(name)


@pytest.mark.parametrize(
    ("scope", "worker", "made"),
    [(Scope.SYSTEM, REMOTE, True), (Scope.SYSTEM, LOCAL, False), (Scope.USER, REMOTE, False)],
    ids=["with a sandbox", "without one", "of a user"],
)
def test_the_directories_that_a_sandbox_opens_are_made(
    scope: Scope, worker: dict[str, Any], made: bool, outside_tmp: Path
) -> None:
    # Given a new project
    base_dir = outside_tmp / "new" / "main"
    some = replace(units(scope, worker, base_dir=str(base_dir)), user=getpass.getuser())
    # When its directories are made, twice
    some.make_directories()
    some.make_directories()
    # Then those are there that systemd would pass over otherwise, for the user alone
    assert base_dir.exists() is made
    if made:
        assert base_dir.stat().st_mode & 0o777 == 0o700


def test_directories_that_cannot_be_made_are_an_error(outside_tmp: Path) -> None:
    (outside_tmp / "file").touch()
    some = replace(units(Scope.SYSTEM, REMOTE, base_dir=str(outside_tmp / "file" / "main")), user=getpass.getuser())
    with pytest.raises(OSError, match="Not a directory"):
        some.make_directories()


def settings(some: Units) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in some.files()[f"{some.name}.service"].splitlines():
        key, equals, value = line.partition("=")
        if equals:
            found.setdefault(key, []).append(value)
    return found


def test_jobs_on_this_machine_outlive_the_service_and_are_not_in_its_sandbox() -> None:
    for scope in Scope:
        found = settings(units(scope, LOCAL))
        assert (found["KillMode"], found["OOMPolicy"]) == (["process"], ["continue"])
        assert {"SystemCallFilter", "PrivateDevices", "NoNewPrivileges", "ProtectSystem"}.isdisjoint(found)
    assert settings(units(Scope.SYSTEM, REMOTE))["KillMode"] == ["mixed"]
    # Nor is a database that jfr-mp manages killed
    managed = units(Scope.USER, REMOTE, embedded_db={"dir": "/srv/db", "port": 27018})
    assert settings(managed)["KillMode"] == ["process"]


def test_a_stop_may_take_longer_than_a_step() -> None:
    (found,) = settings(units(Scope.USER, REMOTE, stop_timeout=300))["TimeoutStopSec"]
    assert int(found) > 300 + 5


def test_what_is_written_to_is_writable() -> None:
    found = settings(units(Scope.SYSTEM, LOCAL_SLURM, base_dir="/srv/a b"))
    assert found["ReadWritePaths"] == ['"-/srv/a b"', "-/scratch/me"]
    assert found["PrivateTmp"] == ["yes"]
    # The sockets of a project with a long path are in /tmp, where the command line must find them
    found = settings(units(Scope.SYSTEM, REMOTE, base_dir="/srv/" + 100 * "x"))
    assert "-/tmp" in found["ReadWritePaths"]
    assert found["PrivateTmp"] == ["no"]


def test_an_older_systemd_is_told_how_to_reload() -> None:
    old, new = settings(units(Scope.USER, REMOTE, 252)), settings(units(Scope.USER, REMOTE, 253))
    assert old["Type"] == ["notify"]
    assert old["ExecReload"][0].endswith(" -HUP $MAINPID")
    assert new["Type"] == ["notify-reload"]
    assert "ExecReload" not in new


def test_the_master_finds_its_project_and_its_commands() -> None:
    found = settings(units(Scope.USER, REMOTE, name="my project"))
    assert found["Environment"] == [
        '"PATH=/opt/a b/bin:/usr/bin"',
        '"JFREMOTE_PROJECTS_FOLDER=/me/50%% \\"$$x\\""',
    ]
    assert found["ExecStart"][0].endswith('jfr-mp start --project "my project" --foreground')
