"""What `jfr-mp project check` tests: each check says what it found and, where that is bad, what to do."""

from __future__ import annotations

import secrets
import stat
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from threading import Thread
from typing import TYPE_CHECKING

from jfr_mp.cli.rows import Cell, Sheet
from jfr_mp.cli.session import DATABASE_TIMEOUT
from jfr_mp.errors import ConfigError, HostError, JfrMpError

if TYPE_CHECKING:
    from jfr_mp.config import Project, ProjectData, WorkerConfig
    from jfr_mp.hosts import BaseHost

#: Seconds after which a JobStore that does not answer counts as away; maggma's own patience is half a minute or more.
STORE_TIMEOUT = 10.0


class Verdict(StrEnum):
    """The result of a check."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "not checked"


@dataclass(frozen=True)
class Check:
    """One line of the report.

    Parameters
    ----------
    what
        The thing that was tested.
    verdict
        How it went.
    detail
        What was found.
    cure
        What to do about it.
    """

    what: str
    verdict: Verdict
    detail: str = ""
    cure: str = ""


def run_checks(data: ProjectData) -> list[Check]:
    """Test everything that a project needs, in the order in which a job meets it."""
    project = data.project
    return [
        check_file(data),
        check_queue(project),
        *(check_jobstore(project, name) for name in (None, *project.optional_jobstores)),
        *(check for name, worker in project.workers.items() for check in check_worker(name, worker)),
    ]


def check_sheet(checks: list[Check]) -> Sheet:
    """Return the report as a table, one check a row."""
    styles = {Verdict.OK: "green", Verdict.FAILED: "bold red", Verdict.WARNING: "yellow", Verdict.SKIPPED: "dim"}
    return Sheet(
        columns=("Check", "Result", "Found", "What to do"),
        rows=tuple(
            (Cell(check.what), Cell(check.verdict, styles[check.verdict]), Cell(check.detail), Cell(check.cure))
            for check in checks
        ),
    )


def check_file(data: ProjectData) -> Check:
    """Look at the mode of the project file; that it is valid is known, or there would be no project."""
    what = "project file"
    if not data.project.workers:
        return Check(what, Verdict.FAILED, f"{data.filepath} has no worker", "add one under `workers`")
    if data.filepath.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        cure = f"chmod 600 {data.filepath}"
        return Check(what, Verdict.WARNING, f"{data.filepath} is open to other users and may hold passwords", cure)
    return Check(what, Verdict.OK, str(data.filepath))


def check_queue(project: Project) -> Check:
    """Connect to the queue database."""
    managed = project.jfr_mp.embedded_db is not None

    def connect() -> str:
        from jfr_mp.store.connection import QueueDatabase

        database = QueueDatabase.connect(project, timeout=DATABASE_TIMEOUT)
        try:
            kind = "with" if database.supports_transactions else "a single server without"
            return f"{database.address}, {kind} transactions"
        finally:
            database.close()

    return _attempt("queue database", "jfr-mp db start" if managed else "see queue.store in the project file", connect)


def check_jobstore(project: Project, name: str | None = None) -> Check:
    """Read from a JobStore, the default one or an optional one."""

    def look() -> str:
        store = project.get_jobstore(name)
        if store.docs_store == project.get_queue_store():
            raise ConfigError("it is the collection of the jobs; outputs need one of their own")

        def read_one() -> None:
            store.connect()
            store.query_one({}, properties=["uuid"])

        within(STORE_TIMEOUT, read_one)
        return str(store.name)

    field = f"optional_jobstores.{name}" if name else "jobstore"
    return _attempt(f"jobstore {name}" if name else "jobstore", f"see {field} in the project file", look)


def check_worker(name: str, worker: WorkerConfig) -> Iterator[Check]:
    """Test a worker: that jobs can write in its work_dir, and that its worker command starts."""
    what = f"worker {name}"
    if not worker.is_local:
        yield Check(what, Verdict.SKIPPED, f"workers of type {worker.type} are not checked in this version")
        return
    yield _attempt(
        f"{what}: work_dir",
        "make the directory writable, or choose another work_dir",
        lambda: _write_in(worker),
    )
    yield _attempt(
        f"{what}: command",
        "install jfr-mp where the worker finds it, or set execution_cmd or pre_run",
        lambda: _start_command(worker),
    )
    if worker.scheduler_type != "shell":
        yield Check(
            f"{what}: scheduler", Verdict.SKIPPED, "schedulers other than shell are not checked in this version"
        )


@contextmanager
def _probe(worker: WorkerConfig) -> Iterator[tuple[BaseHost, str]]:
    """Lend a directory of our own under the work_dir, as each job gets one."""
    from jfr_mp.hosts import host_of

    host = host_of(worker)
    directory = f"{worker.work_dir}/.jfr_mp_check_{secrets.token_hex(4)}"
    host.connect()
    try:
        host.mkdir(directory)
        yield host, directory
    finally:
        host.remove_tree(directory)
        host.close()


def _write_in(worker: WorkerConfig) -> str:
    with _probe(worker) as (host, directory):
        host.write(f"{directory}/file", b"a check of jfr-mp\n")
    return str(worker.work_dir)


def _start_command(worker: WorkerConfig) -> str:
    """Run the worker command, behind the worker's own preparations, on a directory that has no job.

    Whichever command it is, it says so in the output file; that file is the proof that it started.
    """
    from jfr_mp.jobdata.files import OUT_FILENAME
    from jfr_mp.schedulers.script import execution_command

    with _probe(worker) as (host, directory):
        script = f"{worker.pre_run or ''}\n{execution_command(worker, directory)}"
        result = host.run(["/bin/bash", "-c", script], cwd=directory, timeout=worker.timeout_execute)
        if not host.exists(f"{directory}/{OUT_FILENAME}"):
            lines = (result.stderr.strip() or result.stdout.strip() or "it said nothing").splitlines()
            raise HostError(f"the command left no output file (exit code {result.returncode}): {lines[-1]}")
    return execution_command(worker, "DIR")


def _attempt(what: str, cure: str, body: Callable[[], str]) -> Check:
    """Turn what a check returns or raises into a line of the report."""
    try:
        return Check(what, Verdict.OK, body())
    except JfrMpError as error:
        return Check(what, Verdict.FAILED, str(error), cure)
    except Exception as error:  # stores and drivers raise anything, and the other checks are to go on
        return Check(what, Verdict.FAILED, f"{type(error).__name__}: {error}", cure)


def within(seconds: float, body: Callable[[], object]) -> None:
    """Run something that may hang; the thread of a body that does is left behind, and dies with the process."""
    done: Future[object] = Future()

    def run() -> None:
        try:
            done.set_result(body())
        except Exception as error:  # passed on to the caller
            done.set_exception(error)

    Thread(target=run, daemon=True).start()
    try:
        done.result(seconds)
    except TimeoutError as error:
        if done.done():
            raise
        raise HostError(f"no answer within {seconds:g} s") from error
