"""What the benchmarks share: jfr-mp and jobflow-remote 1.0.1, a project for each, and one mongod for both."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.database import Database

from jfr_mp.config.options import EmbeddedDb
from jfr_mp.embedded import EmbeddedMongo, ManagedStores, create

PEER = "jobflow-remote==1.0.1"
#: The options of the project for the time between two looks of a runner, in both packages.
DELAYS = ("delay_checkout", "delay_check_run_status", "delay_advance_status", "delay_update_batch")
#: The collections of a project, which a benchmark may look into while it waits.
Collections = Database[dict[str, Any]]


@dataclass(frozen=True)
class Contestant:
    """One runner: how it is installed, started and stopped."""

    name: str
    python: str
    #: The package that has `submit_flow`.
    package: str
    #: With ``{}`` in the place of the job's directory.
    worker_command: str
    start: tuple[str, ...]
    stop: tuple[str, ...]
    prepare: tuple[str, ...] = ()
    #: Seconds until its processes are up, where `start` does not wait for them.
    settle: float = 0.0


def contestants(peer_python: str | None) -> tuple[Contestant, Contestant]:
    """Return jfr-mp, and jobflow-remote, which is installed where no Python that has it is named."""
    command = [sys.executable, "-m", "jfr_mp"]
    ours = Contestant(
        name="jfr-mp",
        python=sys.executable,
        package="jfr_mp",
        worker_command=" ".join([*command, "execution", "run", "{}"]),
        start=(*command, "start"),
        stop=(*command, "stop"),
    )
    # Absolute, because its commands are started in other directories.
    python = str(Path(peer_python).absolute()) if peer_python else _install_peer()
    jf = str(Path(python).with_name("jf"))
    peer = Contestant(
        name="jobflow-remote",
        python=python,
        package="jobflow_remote",
        worker_command=f"{jf} -fe execution run {{}}",
        start=(jf, "runner", "start"),
        # The first leaves its supervisor alone, the second waits for the processes that the first has ended.
        stop=("/bin/sh", "-c", f"{jf} runner kill && {jf} runner shutdown"),
        prepare=(jf, "admin", "reset", "-y"),
        settle=5.0,
    )
    return ours, peer


def _install_peer() -> str:
    home = Path(__file__).resolve().parents[1] / ".benchmark" / "peer"
    python = home / "bin" / "python"
    if not (home / "bin" / "jf").exists():
        print(f"installing {PEER} into {home}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", PEER], check=True)
    return str(python)


@contextmanager
def database(ground: Path) -> Iterator[ManagedStores]:
    """Run a mongod for both."""
    stores = create(ground / "mongod")
    try:
        yield stores
    finally:
        EmbeddedMongo(EmbeddedDb(**stores.embedded_db)).stop()


@dataclass(frozen=True)
class Arena:
    """The project of a contestant, and all that its commands need."""

    contestant: Contestant
    home: Path
    stores: ManagedStores
    env: Mapping[str, str]

    @classmethod
    def lay_out(
        cls, contestant: Contestant, home: Path, stores: ManagedStores, jobs: str, workers: dict[str, Any], delay: float
    ) -> Arena:
        """Write a project, and the module `benchmark_jobs` with functions that make flows; all timers are `delay`."""
        home.mkdir()
        (home / "benchmark_jobs.py").write_text(jobs)
        project = {
            "name": "benchmark",
            "workers": workers,
            "queue": {"store": {**stores.queue_store, "database": home.name}},
            "jobstore": {"docs_store": {**stores.jobstore["docs_store"], "database": home.name}},
            "runner": dict.fromkeys(DELAYS, delay),
        }
        (home / "projects").mkdir()
        (home / "projects" / "benchmark.json").write_text(json.dumps(project))
        env = {
            **os.environ,
            "HOME": str(home),
            "JFREMOTE_PROJECTS_FOLDER": str(home / "projects"),
            "PYTHONPATH": str(home),
            "PATH": f"{Path(contestant.python).parent}{os.pathsep}{os.environ['PATH']}",
            # As on a user's machine, modules are compiled once and not in each process.
            "PYTHONDONTWRITEBYTECODE": "",
        }
        return cls(contestant, home, stores, env)

    @contextmanager
    def collections(self) -> Iterator[Collections]:
        """Open the database of the project."""
        login = self.stores.queue_store
        with MongoClient[dict[str, Any]](
            login["host"],
            login["port"],
            username=login["username"],
            password=login["password"],
            heartbeatFrequencyMS=60_000,  # a row counts the commands to the server
        ) as client:
            yield client[self.home.name]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the contestant."""
        self.call(*self.contestant.prepare)
        self.call(*self.contestant.start)
        try:
            yield
        finally:
            self.call(*self.contestant.stop)

    def submit(self, flow: str, **options: str) -> None:
        """Submit the flow that an expression over `benchmark_jobs` makes."""
        package = self.contestant.package
        given = "".join(f", {name}={value!r}" for name, value in options.items())
        code = f"import benchmark_jobs, {package}; {package}.submit_flow(benchmark_jobs.{flow}{given})"
        self.call(self.contestant.python, "-c", code)

    def call(self, *command: str) -> str:
        """Run a command of the contestant, if there is one, and return its output; if it fails, end the benchmark."""
        if not command:
            return ""
        done = subprocess.run(
            command, env=dict(self.env), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        )
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(command)} ended with exit code {done.returncode}:\n{done.stdout}")
        return done.stdout
