"""Batch workers with jobs that cost next to nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from jobflow import Flow

from jfr_mp import Runner, submit_flow
from tests.support import jobs
from tests.support.processes import ROOT, end, is_alive
from tests.support.projects import ProjectFactory, TestProject

LIGHT = f"{sys.executable} -S -E {ROOT}/tests/support/light_command.py {{}}"


@dataclass
class BatchWorker:
    """A project whose only worker is a batch worker.

    Parameters
    ----------
    project
        The project.
    directory
        Where ledgers are, the pool, and the allocations.
    """

    project: TestProject
    directory: Path

    @property
    def ledger(self) -> Path:
        return self.directory / "ledger"

    @property
    def pool(self) -> Path:
        return self.directory / "pool"

    @property
    def gate(self) -> Path:
        """While it exists, jobs do not end."""
        return self.directory / "ledger.closed"

    def submit(self, count: int) -> None:
        """Submit jobs that sign the ledger at their end."""
        submit_flow(Flow([jobs.writes_ledger(str(self.ledger), f"job-{n}") for n in range(count)]))

    def signatures(self) -> list[str]:
        return jobs.ledger_lines(self.ledger)

    def states(self) -> dict[str, int]:
        """Return the number of jobs in each state."""
        groups = self.project.db.jobs.aggregate([{"$group": {"_id": "$state", "count": {"$sum": 1}}}])
        return {group["_id"]: group["count"] for group in groups}

    def batches(self, **query: Any) -> list[dict[str, Any]]:
        """Return the documents of allocations, oldest first."""
        return list(self.project.db.batches.find(query).sort("created_on", 1))

    def processes(self) -> list[psutil.Process]:
        """Return the batch processes of this worker that live."""
        found = [process for process in psutil.process_iter() if is_alive(process.pid) and self._is_batch(process)]
        pids = {process.pid for process in found}
        # A process that is about to become a job still looks like its parent.
        return [process for process in found if _parent(process) not in pids]

    def _is_batch(self, process: psutil.Process) -> bool:
        try:
            words = process.cmdline()
        except psutil.Error:
            return False
        return "run-batch" in words and str(self.pool) in words


def _parent(process: psutil.Process) -> int:
    try:
        return process.ppid()
    except psutil.Error:
        return 0


def exactly_once(count: int) -> list[str]:
    """Return what the ledger holds when each job was run to its end once."""
    return sorted(f"job-{n}" for n in range(count))


@pytest.fixture
def make_worker(
    fresh_project: ProjectFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., BatchWorker]]:
    """Call it with options of the batch and of the worker to get a batch worker; its processes end with the test."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    made: list[BatchWorker] = []

    def make(
        *, runner: dict[str, Any] | None = None, batch: dict[str, Any] | None = None, **worker: Any
    ) -> BatchWorker:
        options = {"jobs_handle_dir": str(tmp_path / "pool"), "work_dir": str(tmp_path / "batches"), "parallel_jobs": 4}
        project = fresh_project(
            worker={
                "max_jobs": 2,
                "execution_cmd": LIGHT,
                "batch": {**options, "max_wait": 2, **(batch or {})},
                **worker,
            },
            runner={"delay_update_batch": 2, **(runner or {})},
        )
        made.append(BatchWorker(project, tmp_path))
        return made[-1]

    yield make
    for worker in made:
        for process in worker.processes():
            end(process.pid)


@pytest.fixture
def new_runner() -> Iterator[Callable[[], Runner]]:
    """Call it to get a runner of the project of the test."""
    with ExitStack() as stack:

        def new() -> Runner:
            runner = Runner()
            stack.callback(runner.cleanup)
            return runner

        yield new
