"""What `jfr-mp project check` tests: everything that a project needs, in the order in which a job meets it."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from jfr_mp.database.connection import PERSON_TIMEOUT
from jfr_mp.diagnosis.deadline import within
from jfr_mp.diagnosis.report import Check, Verdict, attempt
from jfr_mp.diagnosis.worker_checks import check_worker
from jfr_mp.errors import ConfigError

if TYPE_CHECKING:
    from jfr_mp.config import Project, ProjectData

#: Seconds after which a JobStore that does not answer counts as away; maggma's own patience is half a minute or more.
STORE_TIMEOUT = 10.0
#: Seconds for the import of jobflow and maggma, on top of the patience with a database.
_IMPORTS = 30.0


def run_checks(data: ProjectData) -> list[Check]:
    """Test a project, its stores and its workers side by side: what is away is waited for once."""
    from jfr_mp.hosts import HostPool

    project = data.project
    hosts = HostPool(project.workers, project.base_dir)
    checks: list[Callable[[], Iterable[Check]]] = [
        lambda: [check_file(data)],
        lambda: [check_queue(project)],
        *(lambda name=name: [check_jobstore(project, name)] for name in (None, *project.optional_jobstores)),
        *(lambda name=name: [*check_worker(project, name, hosts)] for name in project.workers),
    ]
    try:
        with ThreadPoolExecutor(len(checks)) as pool:
            return [check for found in pool.map(lambda run: run(), checks) for check in found]
    finally:
        hosts.close()


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
        from jfr_mp.database.connection import QueueDatabase

        database = QueueDatabase.connect(project, timeout=PERSON_TIMEOUT)
        try:
            kind = "with" if database.supports_transactions else "a single server without"
            return f"{database.address}, {kind} transactions"
        finally:
            database.close()

    cure = "jfr-mp db start" if managed else "see queue.store in the project file"
    return attempt("queue database", cure, connect, seconds=PERSON_TIMEOUT + _IMPORTS)


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
    what = f"jobstore {name}" if name else "jobstore"
    return attempt(what, f"see {field} in the project file", look, seconds=STORE_TIMEOUT + _IMPORTS)
