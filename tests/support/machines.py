"""Several machines on one: each has pids, a host name, a home and directories of its own, and shares the database.

A machine is the namespaces of its master, as in a container. Its clock, network and file system are those of this one.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
from ruamel.yaml import YAML

from tests.support.processes import JFR_MP, Processes
from tests.support.projects import TestProject
from tests.support.waiting import wait_until

_NAMESPACES = ("unshare", "--pid", "--uts", "--mount", "--fork", "--mount-proc", "--kill-child")


def require_namespaces() -> None:
    """Skip a test if this user must not make namespaces."""
    if subprocess.run([*_NAMESPACES, "true"], check=False, capture_output=True).returncode:
        pytest.skip("namespaces cannot be made here: run the tests as root")


class Machine:
    """A machine with a master, which has a copy of the project file with its own directories.

    Parameters
    ----------
    host
        Its host name.
    directory
        Where all its files are.
    project
        The project.
    processes
        Ends its master with the test.
    prefix
        A command that runs its master, for instance in a network namespace.
    """

    def __init__(
        self, host: str, directory: Path, project: TestProject, processes: Processes, prefix: Sequence[str] = ()
    ) -> None:
        self._prefix = tuple(prefix)
        self.host = host
        self.directory = directory
        self._processes = processes
        projects, home = directory / "projects", directory / "home"
        for path in (projects, home):
            path.mkdir(parents=True)
        local = {**project.document["workers"]["local"], "work_dir": str(directory / "work")}
        document = {
            **project.document,
            # The sockets are below it, and their paths have little room.
            "daemon_dir": str(directory / "d"),
            "workers": {**project.document["workers"], "local": local},
        }
        self.project_file = projects / f"{project.name}.yaml"
        with self.project_file.open("w") as file:
            os.fchmod(file.fileno(), 0o600)
            YAML(typ="safe").dump(document, file)
        self.env: Mapping[str, str] = {**project.env, "JFREMOTE_PROJECTS_FOLDER": str(projects), "HOME": str(home)}
        self.master: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> None:
        """Start its master."""
        begin = 'hostname "$0" && exec "$@"'
        argv = [*self._prefix, *_NAMESPACES, "sh", "-c", begin, self.host, JFR_MP, "start", "--foreground", *options]
        self.master = self._processes.start(argv, env=self.env, cwd=self.directory)

    @property
    def output(self) -> str:
        """What its master has printed."""
        return self._processes.output(self.master) if self.master else ""

    def types(self, *argv: str, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run ``jfr-mp ARGV`` on it."""
        enter: tuple[str, ...] = ()
        if self.master is not None:
            (inside,) = psutil.Process(self.master.pid).children()
            enter = ("nsenter", "--target", str(inside.pid), "--pid", "--uts", "--mount")
        return subprocess.run(
            [*enter, JFR_MP, *argv],
            env=dict(self.env),
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def json(self, *argv: str) -> Any:
        """Run a command with ``--json`` and return what it printed."""
        done = self.types(*argv, "--json")
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    def cut_off(self) -> None:
        """Kill everything on it at once, as a power failure does."""
        assert self.master is not None
        self.master.kill()
        self.master.wait(20)
        self.master = None


def wait_for_roles(project: TestProject, *roles: str) -> None:
    """Wait until processes of these roles are registered, any number of each."""

    def registered() -> bool:
        found = project.db.jfr_mp_processes.find({"kind": "role"})
        return {role for record in found for role in record["roles"]} >= set(roles)

    wait_until(registered, 30, f"processes of the roles {', '.join(roles)}")
