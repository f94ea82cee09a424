"""The servers, workers and project of `scripts/chaos`."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from chaos_flows import EXEC_CONFIG, FAILED, KINDS, LATE, LITTLE_GROUP, MORE_KINDS, SMALL, ULIMIT, WARM, Expected
from chaos_places import LateDisk, late_disk, little_memory, make_clock, small_disk
from pymongo.errors import PyMongoError

from jfr_mp import submit_flow
from jfr_mp.errors import JfrMpError
from tests.support.cluster import Cluster
from tests.support.memory_group import MemoryGroup
from tests.support.mongod import Mongod, ReplicaSet
from tests.support.network import Network
from tests.support.processes import ROOT, end, pids_with
from tests.support.waiting import wait_until

#: Seconds of the lease of a process, and for which a submission waits for a primary.
LEASE_TTL, PATIENCE_WITH_DATABASE = 5.0, 60.0
MARK = "JFREMOTE_PROJECTS_FOLDER"
FINAL = ("COMPLETED", "FAILED", "REMOTE_ERROR", "STOPPED")


@dataclass
class Ground:
    """Everything that the jobs need, all of it real.

    Parameters
    ----------
    home
        Where all files are.
    mongod
        The database.
    cluster
        A Slurm behind SSH, if there is one.
    expected
        The flows that were submitted.
    disks
        Small disks, with --more: one with logs, sockets and temporary files, one with the directories of jobs.
    late
        With --more, a disk with the directories of jobs whose files can answer late, if this machine can make one.
    memory
        With --more, a group in which jobs run out of memory, if this machine can make one.
    """

    home: Path
    mongod: Mongod | ReplicaSet
    cluster: Cluster | None = None
    expected: list[Expected] = field(default_factory=list)
    disks: dict[str, Path] = field(default_factory=dict)
    late: LateDisk | None = None
    memory: MemoryGroup | None = None

    @property
    def clock(self) -> dict[str, str]:
        """The environment in which the clock is the one of the file `time`, if there is one."""
        if not (self.home / "time").exists():
            return {}
        return {"LD_PRELOAD": str(self.home / "clock.so"), "CHAOS_CLOCK": str(self.home / "time")}

    @property
    def more(self) -> bool:
        """Whether there are the other misfortunes, too."""
        return bool(self.disks)

    @property
    def db(self) -> Any:
        """The database of the queue."""
        return self.mongod.client["chaos"]

    def cli(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run a command of jfr-mp."""
        command = [sys.executable, "-m", "jfr_mp", *argv]
        env = {**os.environ, **self.clock}
        if self.more:
            env["TMPDIR"] = str(self.disks["own"] / "tmp")
        return subprocess.run(command, text=True, capture_output=True, check=False, timeout=120, env=env)

    def start(self) -> None:
        """Start a master."""
        started = self.cli("start")
        if started.returncode != 0:
            raise SystemExit(f"no master could be started: {started.stdout}{started.stderr}")

    def processes(self, *modules: str) -> list[psutil.Process]:
        """Return the living masters or role processes: those of the registry."""
        found = []
        for record in self.db.jfr_mp_processes.find({"kind": {"$in": modules}}).sort("_id", 1):
            try:
                found.append(psutil.Process(record["pid"]))
            except psutil.NoSuchProcess:
                continue
        return found

    @property
    def workers(self) -> list[str]:
        """The names of the workers."""
        more = [WARM, SMALL, *([LATE] if self.late else [])] if self.more else []
        return ["local", *(["cluster"] if self.cluster else []), *more]

    def submit(self, chance: random.Random) -> None:
        """Put a flow of some kind into the queue."""
        number = len(self.expected)
        kind = chance.choice(MORE_KINDS if self.more else KINDS)
        submission = kind(self.home / f"ledger-{number}", chance)
        workers = [name for name in submission.workers if name in self.workers]
        try:
            submit_flow(submission.jobs, worker=workers[number % len(workers)])
        except (JfrMpError, PyMongoError):
            # A primary that is lost meanwhile has taken it, or has not; anything between would be a finding.
            there = wait_until(lambda: self._there(submission.jobs.uuid), PATIENCE_WITH_DATABASE, "the database")
            if there == [False]:
                return
        self.expected.append(submission.expected)

    def _there(self, uuid: str) -> list[bool] | None:
        """Return whether there is a flow; None if the database is unreachable."""
        try:
            return [self.db.flows.count_documents({"uuid": uuid}) > 0]
        except PyMongoError:
            return None

    def unfinished(self) -> int:
        """Return how many jobs can still move."""
        waiting_for_ever = sum(expected.states["WAITING"] for expected in self.expected)
        return int(self.db.jobs.count_documents({"state": {"$nin": FINAL}}) - waiting_for_ever)

    def flows_in_progress(self) -> int:
        """Return how many flows have not ended."""
        return int(self.db.flows.count_documents({"state": {"$in": ["READY", "RUNNING", "WAITING"]}}))

    def failed(self) -> int:
        """Return how many jobs must fail."""
        return sum(expected.states[FAILED] for expected in self.expected)

    def states(self, worker: str) -> Mapping[str, int]:
        """Return how many jobs of a worker are in which state."""
        return Counter(job["state"] for job in self.db.jobs.find({"worker": worker}, {"state": 1}))

    def locks(self) -> list[str]:
        """Return the locks of now."""
        return [
            f"{name} {document['_id']}: {document['lock_id']}"
            for name in ("jobs", "flows", "jf_auxiliary")
            for document in self.db[name].find({"lock_id": {"$type": "string"}}, {"lock_id": 1})
        ]


@contextmanager
def ground(home: Path, *, local: bool, more: bool) -> Iterator[Ground]:
    """Start the servers and write the project."""
    with ExitStack() as stack:
        made = Ground(home, _database(home / "mongod", stack, more=more))
        stack.callback(made.mongod.close)
        made.mongod.start()
        # The jobs of a cluster don't take the processor time of those who run them.
        command = f"nice -n 19 {sys.executable} -P -m jfr_mp.execution run {{}}"
        local_worker = {
            "type": "local",
            "scheduler_type": "shell",
            "max_jobs": 4 if more else 2,
            "execution_cmd": command,
        }
        workers: dict[str, Any] = {"local": {**local_worker, "work_dir": str(home / "local")}}
        if not local:
            made.cluster = Cluster(home / "cluster")
            stack.callback(made.cluster.stop)
            made.cluster.start()
            stack.enter_context(made.cluster.administrator())
            workers["cluster"] = made.cluster.worker(home / "work", max_jobs=6, execution_cmd=command)
        document = {
            "name": "chaos",
            "workers": workers,
            "queue": {"store": made.mongod.store("chaos", "jobs")},
            "jobstore": {"docs_store": made.mongod.store("chaos", "outputs")},
            "runner": {"delay_check_run_status": 2},
            "metadata": {"jfr_mp": {"lease_ttl": LEASE_TTL, "heartbeat_interval": 1.0, "stop_timeout": 20}},
        }
        (home / "projects").mkdir()
        if more:
            _more(made, document, local_worker, stack)
        (home / "projects" / "chaos.json").write_text(json.dumps(document))
        (home / "projects" / "chaos.json").chmod(0o600)
        os.environ.update({MARK: str(home / "projects"), "HOME": str(home), "PYTHONPATH": f"{ROOT}/src:{ROOT}"})
        stack.callback(_end_all)
        yield made


def _more(made: Ground, document: dict[str, Any], local_worker: Mapping[str, Any], stack: ExitStack) -> None:
    """Make the places of --more, and the workers there."""
    home, workers = made.home, document["workers"]
    for name in ("own", SMALL):
        made.disks[name] = stack.enter_context(small_disk(home / f"disk-{name}"))
    (made.disks["own"] / "tmp").mkdir()
    document |= {"log_dir": str(made.disks["own"] / "log"), "daemon_dir": str(made.disks["own"] / "daemon")}
    made.late = stack.enter_context(late_disk(home / f"disk-{LATE}"))
    made.memory = stack.enter_context(little_memory())
    little = made.memory.enter if made.memory else ULIMIT
    document["exec_config"] = {**EXEC_CONFIG, LITTLE_GROUP: {"pre_run": little}}
    workers[SMALL] = {**local_worker, "work_dir": str(made.disks[SMALL] / "work")}
    # Without a command of its own, so that its jobs are forked from a process that has done their imports.
    workers[WARM] = {**local_worker, "work_dir": str(home / WARM), "max_jobs": 2}
    del workers[WARM]["execution_cmd"]
    if made.late:
        workers[LATE] = {**local_worker, "work_dir": str(made.late.path / "work"), "max_jobs": 2}
    make_clock(home)


def _database(directory: Path, stack: ExitStack, *, more: bool) -> Mongod | ReplicaSet:
    if not more:
        return Mongod(directory, replica_set="rs_chaos")
    network = Network(3)
    stack.callback(network.close)
    return ReplicaSet(directory, "rs_chaos", network)


def _end_all() -> None:
    """End the processes that were started for the project."""
    for pid in pids_with(MARK, os.environ[MARK]):
        end(pid)
