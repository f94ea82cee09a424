"""Methods of `JobController` that initialise and fill the queue database, with jobflow-remote's parameters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from jfr_mp.api.access import ProjectAccess
from jfr_mp.config import ExecutionConfig
from jfr_mp.database import indexes, running_runner, setup, submission
from jfr_mp.errors import ConfigError

if TYPE_CHECKING:
    from jobflow import Flow, Job
    from qtoolkit.core.data_objects import QResources

    from jfr_mp.database.invariants import Violation


#: The collections by which scripts name them.
COLLECTIONS = ("jobs", "flows", "auxiliary", "batches")


def add_flow(  # noqa: PLR0913, PLR0917 - the reference's signature
    self: ProjectAccess,
    flow: Flow | Job | list[Job],
    worker: str,
    allow_external_references: bool = False,
    exec_config: str | ExecutionConfig | None = None,
    resources: dict[str, Any] | QResources | None = None,
    priority: int = 0,
    jobstore: str | None = None,
) -> list[str]:
    """Insert a flow and return the db_ids of its jobs; `jfr_mp.submit_flow` also validates the arguments first."""
    setup.ensure_initialised(self.db)
    return submission.add_flow(
        self.db,
        flow,
        worker=worker,
        allow_external_references=allow_external_references,
        exec_config=exec_config,
        resources=resources,
        priority=priority,
        jobstore=jobstore,
    )


def reset(self: ProjectAccess, reset_output: bool = False, max_limit: int = 25, validation: str | None = None) -> bool:
    """Delete all jobs, flows and batches, and initialise the database again.

    Parameters
    ----------
    reset_output
        Whether to delete everything in the JobStore and its additional stores, too.
    max_limit, validation
        As for `jfr_mp.database.setup.reset`: a database with many flows needs today's date.

    Returns
    -------
    bool
        Whether the database was reset.
    """
    done = setup.reset(self.db, max_limit=max_limit, validation=validation)
    if done and reset_output:
        jobstore: Any = self.project.get_jobstore()
        jobstore.connect()
        try:
            for store in (jobstore.docs_store, *jobstore.additional_stores.values()):
                store.remove_docs({})
        finally:
            jobstore.close()
    return done


def build_indexes(
    self: ProjectAccess,
    background: bool = True,
    job_custom_indexes: list[str | list[Any]] | None = None,
    flow_custom_indexes: list[str | list[Any]] | None = None,
    drop: bool = False,
) -> None:
    """Create the missing indexes, and further ones for jobs and flows.

    Parameters
    ----------
    background
        No effect: the servers that are supported always build indexes beside other work.
    job_custom_indexes, flow_custom_indexes
        Further indexes, as for `create_indexes`.
    drop
        Whether to drop all indexes first.
    """
    if drop:
        indexes.drop_indexes(self.db)
    indexes.ensure_indexes(self.db)
    indexes.create_indexes(self.db.jobs, job_custom_indexes or [])
    indexes.create_indexes(self.db.flows, flow_custom_indexes or [])


def create_indexes(
    self: ProjectAccess,
    indexes: list[str | list[Any]],
    collection: str = "jobs",
    unique: bool = False,
    background: bool = True,
) -> None:
    """Create indexes in ``jobs``, ``flows``, ``auxiliary`` or ``batches``.

    Parameters
    ----------
    indexes
        For each index a field, or a list of (field, direction).
    collection
        The collection.
    unique
        Whether two documents cannot have the same values.
    background
        No effect, see `build_indexes`.
    """
    from jfr_mp.database.indexes import create_indexes as create

    create(get_collection(self, collection), indexes, unique=unique)


def get_collection(self: ProjectAccess, collection: str) -> Any:
    """Return a collection: ``jobs``, ``flows``, ``auxiliary`` or ``batches``.

    Raises
    ------
    ConfigError
        There is no such collection.
    """
    name = getattr(collection, "value", collection)
    # As jobflow-remote's `DbCollection` calls it.
    name = "auxiliary" if name == "aux" else name
    if name not in COLLECTIONS:
        raise ConfigError(f"there is no collection {name!r}; choose one of {', '.join(COLLECTIONS)}")
    return getattr(self.db, name)


def get_runner_pings(self: ProjectAccess) -> list[dict[str, Any]]:
    """Return the last pings of runners, the oldest first."""
    return running_runner.pings(self.db)


def ping_running_runner(self: ProjectAccess, data: dict[str, Any] | None = None) -> tuple[bool, list[dict[str, Any]]]:
    """Record that a runner is alive.

    Parameters
    ----------
    data
        What to store about it, besides the time.

    Returns
    -------
    tuple
        Whether the database has a record of a running runner, and the last pings, the oldest first.
    """
    known = running_runner.ping(self.db, data or {})
    return known, get_runner_pings(self)


def compact(self: ProjectAccess) -> None:
    """Let the server release the disk space of deleted jobs and flows."""
    setup.compact(self.db)


def clean_runner_pings(self: ProjectAccess) -> None:
    """Remove all pings of runners."""
    running_runner.forget_pings(self.db)


def clean_running_runner(self: ProjectAccess, break_lock: bool = False) -> None:
    """Remove the record of the running runner; it is needed only after a daemon of jobflow-remote was killed."""
    running_runner.forget(self.db, self.owner, break_lock=break_lock)


def check_consistency(self: ProjectAccess) -> Iterator[Violation]:
    """Yield what is wrong with the documents of the queue, as ``jfr-mp admin check`` shows it; nothing is changed."""
    from jfr_mp.database.consistency import ConsistencyCheck

    return ConsistencyCheck(self.db).violations()


def unlock_runner(self: ProjectAccess) -> tuple[int, int]:
    """Break the lock of the record of the running runner.

    Returns
    -------
    tuple of int
        The number of records, and how many of them were locked.
    """
    return running_runner.unlock(self.db)
