"""Methods of `JobController` that initialise and fill the queue database, with jobflow-remote's parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jfr_mp.api.access import ProjectAccess
from jfr_mp.config import ExecutionConfig
from jfr_mp.database import indexes, setup, submission

if TYPE_CHECKING:
    from jobflow import Flow, Job
    from qtoolkit.core.data_objects import QResources


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


def reset(self: ProjectAccess) -> None:
    """Delete all jobs, flows and batches and initialise the database again; outputs are kept."""
    setup.reset(self.db)


def build_indexes(self: ProjectAccess) -> None:
    """Create the missing indexes."""
    indexes.ensure_indexes(self.db)
