"""Throwaway projects: a project file, a database and an environment that touch nothing of the user."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pymongo.database import Database
from ruamel.yaml import YAML

from jfr_mp.bus.paths import runtime_path
from tests.support.mongod import Mongod
from tests.support.processes import ROOT, end, pids_with

_FOLDER = "JFREMOTE_PROJECTS_FOLDER"


@dataclass(frozen=True)
class TestProject:
    """A project on disk.

    Parameters
    ----------
    name
        The name of the project.
    project_file
        Its YAML file.
    work_dir
        The work_dir of the worker `local`.
    env
        The whole environment for subprocesses, in which this project is the chosen one.
    document
        The content of the project file.
    server
        The mongod of queue and jobstore.
    db
        The database of queue and jobstore; its collections are jobs, flows, jf_auxiliary, batches and outputs.
    """

    __test__ = False

    name: str
    project_file: Path
    work_dir: Path
    env: Mapping[str, str]
    document: dict[str, Any]
    server: Mongod
    db: Database[dict[str, Any]]

    @property
    def base_dir(self) -> Path:
        """Where the project keeps logs and the files of its daemon."""
        return self.project_file.with_suffix("")

    @property
    def daemon_dir(self) -> Path:
        """Where a daemon keeps its socket and its pid."""
        return Path(self.document.get("daemon_dir") or self.base_dir / "daemon")

    def rewrite(self, **fields: Any) -> None:
        """Change fields of the project file."""
        self.document.update(fields)
        with self.project_file.open("w") as file:
            # It contains the password of the database.
            os.fchmod(file.fileno(), 0o600)
            YAML(typ="safe").dump(self.document, file)
        self.project_file.chmod(0o600)


class ProjectFactory:
    """Makes the projects of one test, and removes every trace of them.

    Parameters
    ----------
    directory
        Where all their files are.
    monkeypatch
        Changes this process's environment, too, for the time of the test.
    server
        The mongod to use where a project asks for no other.
    """

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch, server: Mongod) -> None:
        self._directory = directory
        self._monkeypatch = monkeypatch
        self._server = server
        self._databases: list[tuple[Mongod, str]] = []
        self.projects_folder = directory / "projects"
        self.projects_folder.mkdir()
        (directory / "home").mkdir()
        bin_dir = Path(sys.executable).parent
        self._setenv(HOME=directory / "home", PATH=f"{bin_dir}:{os.environ['PATH']}", PYTHONPATH=ROOT)
        for variable in [name for name in os.environ if name.startswith("JFREMOTE_")]:
            monkeypatch.delenv(variable)
        self._setenv(**{_FOLDER: self.projects_folder})

    def __call__(
        self,
        name: str = "main",
        *,
        server: Mongod | None = None,
        worker: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> TestProject:
        """Write a project file and choose that project in the environment.

        Parameters
        ----------
        name
            The name of the project.
        server
            The mongod to use; the replica set by default.
        worker
            Fields of the worker `local` to add or change.
        fields
            Top-level fields of the project file. `workers` adds workers; all others, such as `runner`, `metadata` and
            `jobstore`, are taken as they are.
        """
        server = server or self._server
        database = f"{name}_{secrets.token_hex(4)}"
        self._databases.append((server, database))
        work_dir = self._directory / "work" / name
        work_dir.mkdir(parents=True)
        local = {"type": "local", "scheduler_type": "shell", "work_dir": str(work_dir), "timeout_execute": 60}
        document = {
            "name": name,
            "queue": {"store": server.store(database, "jobs")},
            "jobstore": {"docs_store": server.store(database, "outputs")},
            "exec_config": {},
            **fields,
            "workers": {"local": local | dict(worker or {}), **fields.get("workers", {})},
        }
        self._setenv(JFREMOTE_PROJECT=name)
        project = TestProject(
            name=name,
            project_file=self.projects_folder / f"{name}.yaml",
            work_dir=work_dir,
            env=dict(os.environ),
            document=document,
            server=server,
            db=server.client[database],
        )
        project.rewrite()
        return project

    def remove(self) -> None:
        """End the processes that still run for these projects, daemons included; drop databases and sockets."""
        for pid in pids_with(_FOLDER, str(self.projects_folder)):
            end(pid)
        for base_dir in self.projects_folder.iterdir():
            shutil.rmtree(runtime_path(base_dir / "daemon"), ignore_errors=True)
        for server, database in self._databases:
            if server.running:
                server.client.drop_database(database)

    def _setenv(self, **variables: object) -> None:
        """Set environment variables for the time of the test."""
        for name, value in variables.items():
            self._monkeypatch.setenv(name, str(value))
