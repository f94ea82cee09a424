"""Tests of a worker: everything that a job does there, without a job."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from jfr_mp.diagnosis.report import Check, Verdict, attempt
from jfr_mp.errors import HostError, SchedulerError

if TYPE_CHECKING:
    from jfr_mp.config import Project, WorkerConfig
    from jfr_mp.hosts import BaseHost, HostPool

#: Seconds that a check may take beyond what the worker allows a single command.
_MARGIN = 15.0


def check_worker(project: Project, name: str, hosts: HostPool) -> Iterator[Check]:
    """Test a worker: its connection, its directories, its scheduler, and the command that runs jobs."""
    worker = project.worker(name)
    checker = WorkerChecker(name, worker)
    if not worker.is_local:
        connection = checker.connection(hosts)
        yield connection
        if connection.verdict is not Verdict.OK:
            yield Check(f"worker {name}", Verdict.SKIPPED, "nothing else was tested, because there is no connection")
            return
    yield from checker.rest(hosts.connected(name))


class WorkerChecker:
    """Tests one worker.

    Parameters
    ----------
    name
        Its name in the project.
    worker
        Its configuration.
    """

    def __init__(self, name: str, worker: WorkerConfig) -> None:
        self._name = name
        self._worker = worker
        self._seconds = worker.timeout_execute + _MARGIN
        #: The interpreter that ran the trial job.
        self._interpreter: str | None = None

    def connection(self, hosts: HostPool) -> Check:
        """Connect and log in."""
        return attempt(
            f"worker {self._name}: connection",
            "see host, user, port, key_filename and gateway of the worker; `ssh` must be able to log in with the same",
            lambda: f"{hosts.connected(self._name).name} answers",
            seconds=self._seconds,
        )

    def rest(self, host: BaseHost) -> Iterator[Check]:
        """Test everything that needs a connection."""
        worker = self._worker
        work_dir = self._directory(host, "work_dir", worker.work_dir)
        yield work_dir
        if worker.batch is not None:
            yield self._directory(host, "batch.jobs_handle_dir", worker.batch.jobs_handle_dir)
            yield self._directory(host, "batch.work_dir", worker.batch.work_dir)
        yield attempt(
            f"worker {self._name}: scheduler",
            f"see scheduler_type of the worker; the commands of {self._scheduler} must be on the PATH of its shell",
            lambda: self._ask_scheduler(host),
            seconds=2 * self._seconds,
        )
        if work_dir.verdict is not Verdict.OK:
            yield Check(f"worker {self._name}: command", Verdict.SKIPPED, "this test needs the work_dir")
            return
        yield attempt(
            f"worker {self._name}: command",
            "install jfr-mp or jobflow-remote on the worker, or set execution_cmd or pre_run",
            lambda: self._run_trial(host),
            seconds=2 * self._seconds,
        )
        theirs = self._interpreter
        if worker.is_local and theirs and Path(theirs).parent != Path(sys.executable).parent:
            yield Check(
                f"worker {self._name}: Python",
                Verdict.WARNING,
                f"jobs run with {theirs}, the runner with {sys.executable}: the versions of packages may differ",
                "if that is not intended, remove the activation of an environment from pre_run of the worker",
            )

    @property
    def _scheduler(self) -> str:
        kind = self._worker.scheduler_type
        return kind if isinstance(kind, str) else str(kind["@class"])

    def _directory(self, host: BaseHost, field: str, directory: Path) -> Check:
        """Test a directory: make another one in it, write there, and remove it."""

        def write() -> str:
            with _probe(host, directory) as probe:
                host.write(f"{probe}/file", b"a check of jfr-mp\n")
            return str(directory)

        cure = f"make the directory writable, or choose another {field}"
        return attempt(f"worker {self._name}: {field}", cure, write, seconds=self._seconds)

    def _ask_scheduler(self, host: BaseHost) -> str:
        from jfr_mp.schedulers import QueueManager

        manager = QueueManager.of_worker(self._worker, host)
        manager.jobs_of_user()
        if self._scheduler == "shell":
            return "the shell of the host"
        command = manager.dialect.submit_command()[0]
        found = host.run(["/bin/sh", "-c", 'command -v "$1"', "jfr-mp", command], timeout=manager.timeout)
        if found.returncode != 0:
            raise SchedulerError(f"{self._scheduler} answers, but {command} is not on the PATH of {host.name}")
        return f"{self._scheduler} answers; jobs are submitted by {found.stdout.strip()}"

    def _run_trial(self, host: BaseHost) -> str:
        """Run the worker command, after the preparations of the worker, on a trial job."""
        from jfr_mp.diagnosis.trial import put_trial, read_trial, trial_text
        from jfr_mp.jobdata.files import OUT_FILENAME, QUEUE_ERR
        from jfr_mp.schedulers.script import execution_command

        with _probe(host, self._worker.work_dir) as directory, TemporaryDirectory() as local:
            put_trial(host, directory)
            script = f"{self._worker.pre_run or ''}\n{execution_command(self._worker, directory)}"
            argv = ["/bin/bash", "-c", script]
            result = host.run(argv, cwd=directory, timeout=self._worker.timeout_execute)
            if not host.exists(f"{directory}/{OUT_FILENAME}"):
                lines = (result.stderr.strip() or result.stdout.strip() or "it printed nothing").splitlines()
                raise HostError(f"the command left no output file (exit code {result.returncode}): {lines[-1]}")
            host.write(f"{directory}/{QUEUE_ERR}", result.stderr.encode())
            found = read_trial(host, directory, Path(local))
            self._interpreter = found["executable"]
            return trial_text(found)


@contextmanager
def _probe(host: BaseHost, parent: Path) -> Iterator[str]:
    """Yield a new directory, as each job gets one."""
    directory = str(PurePosixPath(parent, f".jfr_mp_check_{secrets.token_hex(4)}"))
    host.mkdir(directory)
    try:
        yield directory
    except BaseException:
        # The user needs the error that was raised first.
        with suppress(HostError):
            host.remove_tree(directory)
        raise
    host.remove_tree(directory)
