"""`check_project`: tests of everything that a project needs, in the order in which a job needs it."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from jfr_mp.config.settings import VARIABLES, unknown_variables
from jfr_mp.config.validation import suggestion
from jfr_mp.database.connection import PERSON_TIMEOUT
from jfr_mp.diagnosis.deadline import within
from jfr_mp.diagnosis.report import Check, Verdict, attempt
from jfr_mp.diagnosis.worker_checks import check_worker
from jfr_mp.errors import ConfigError

if TYPE_CHECKING:
    from jfr_mp.config import Project, ProjectData

#: Seconds after which a JobStore that does not answer counts as down; maggma waits for half a minute or more.
STORE_TIMEOUT = 10.0
#: Further seconds for the import of jobflow and maggma.
_IMPORTS = 30.0


class Parts(NamedTuple):
    """The parts of a project that are tested; none means all.

    Parameters
    ----------
    queue
        The queue database.
    jobstore
        The JobStores.
    worker
        One worker, by its name.
    """

    queue: bool = False
    jobstore: bool = False
    worker: str | None = None


def check_project(data: ProjectData, only: Parts | None = None) -> list[Check]:
    """Test a project by using its database, its JobStores and its workers.

    They are tested at the same time, so that the whole takes as long as the slowest of them.

    Returns
    -------
    list of Check
        In the order in which a job needs what they test.
    """
    from jfr_mp.hosts import HostPool

    project = data.project
    hosts = HostPool(project.workers, project.base_dir, project.jfr_mp)
    every = only is None or not any(only)
    parts = Parts(queue=True, jobstore=True) if only is None or every else only
    if parts.worker is not None:
        project.worker(parts.worker)
    workers = [name for name in project.workers if every or name == parts.worker]
    stores = [None, *project.optional_jobstores] if parts.jobstore else []
    checks: list[Callable[[], Iterable[Check]]] = [
        *((lambda: [check_file(data), *check_environment(), *check_notifications(project)],) if every else ()),
        *((lambda: [check_queue(project)],) if parts.queue else ()),
        *(lambda name=name: [check_jobstore(project, name)] for name in stores),
        *(lambda name=name: [*check_worker(project, name, hosts)] for name in workers),
    ]
    try:
        with ThreadPoolExecutor(len(checks)) as pool:
            return [check for found in pool.map(lambda run: run(), checks) for check in found]
    finally:
        hosts.close()


def has_failed(checks: Iterable[Check]) -> bool:
    """Return whether one of the checks has failed."""
    return any(check.verdict is Verdict.FAILED for check in checks)


def check_file(data: ProjectData) -> Check:
    """Check that the project file has a worker, and that other users cannot read it."""
    what = "project file"
    if not data.project.workers:
        return Check(what, Verdict.FAILED, f"{data.filepath} has no worker", "add one under `workers`")
    if data.filepath.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        cure = f"chmod 600 {data.filepath}"
        return Check(
            what, Verdict.WARNING, f"{data.filepath} can be read by other users and may contain passwords", cure
        )
    return Check(what, Verdict.OK, str(data.filepath))


def check_environment() -> Iterator[Check]:
    """Warn of environment variables that look like settings and are none."""
    for name in sorted(unknown_variables()):
        hint = suggestion(name, VARIABLES)
        yield Check("environment", Verdict.WARNING, f"{name} is not a setting{hint}", f"unset {name}, or correct it")


def check_notifications(project: Project) -> Iterator[Check]:
    """Check the targets of notifications without sending anything."""
    from jfr_mp.notify.targets import masked, open_target

    for name, target in project.jfr_mp.notify.targets.items():
        what, field = f"notify {name}", f"metadata.jfr_mp.notify.targets.{name}"
        try:
            url = masked(open_target(name, target)[1])
        except ConfigError as error:
            yield Check(what, Verdict.FAILED, str(error), f"see {field} in the project file")
        else:
            file = Path(target.file).expanduser() if target.file else None
            if file is not None and file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                yield Check(what, Verdict.WARNING, f"{file} can be read by other users", f"chmod 600 {file}")
            else:
                yield Check(what, Verdict.OK, f"{url}, not tried: jfr-mp notify test")


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
            raise ConfigError("it is the collection of the jobs; the outputs need another collection")

        def read_one() -> None:
            with closing(store):
                store.connect()
                store.query_one({}, properties=["uuid"])

        within(STORE_TIMEOUT, read_one)
        return str(store.name)

    field = f"optional_jobstores.{name}" if name else "jobstore"
    what = f"jobstore {name}" if name else "jobstore"
    return attempt(what, f"see {field} in the project file", look, seconds=STORE_TIMEOUT + _IMPORTS)
