"""Methods of `JobController` that return documents as MongoDB stores them, with jobflow-remote's names and results."""

from __future__ import annotations

from typing import Any

from jfr_mp.api.access import ProjectAccess
from jfr_mp.database import aggregation, queries
from jfr_mp.database.aggregation import Projection

Document = dict[str, Any]


def _job_id_query(
    db_id: str | None = None, job_id: str | None = None, job_index: int | None = None
) -> tuple[Document, list[Any] | None]:
    """Return the query and the sort order that select one job, by its db_id or by its uuid and index (None: the last).

    Raises
    ------
    ValueError
        Not exactly one of `db_id` and `job_id` is given.
    """
    query, order = queries.job_id_query(db_id, job_id, job_index)
    return query, order and [list(each) for each in order]


generate_job_id_query = staticmethod(_job_id_query)
generate_flow_id_query = staticmethod(queries.flow_id_query)


def get_jobs(self: ProjectAccess, query: Document | None, projection: Projection = None) -> list[Document]:
    """Return the documents of the jobs that match a query."""
    return aggregation.documents(self.db.jobs, query, projection)


def get_jobs_info_by_flow_uuid(self: ProjectAccess, flow_uuid: str, projection: Projection = None) -> list[Document]:
    """Return the documents of the jobs of a flow."""
    return aggregation.documents(self.db.jobs, {"job.hosts": flow_uuid}, projection)


def get_job_info_by_job_uuid(
    self: ProjectAccess, job_uuid: str, job_index: int | str = "last", projection: Projection = None
) -> Document | None:
    """Return the document of a job by its uuid and its index, or "last" for the largest one; None if there is none."""
    return aggregation.job_of_index(self.db, job_uuid, job_index, projection)


def get_flow_info_by_flow_uuid(self: ProjectAccess, flow_uuid: str, projection: Projection = None) -> Document | None:
    """Return the document of a flow, or None if there is none."""
    return aggregation.document(self.db.flows, {"uuid": flow_uuid}, projection)


def get_flow_info_by_job_uuid(self: ProjectAccess, job_uuid: str, projection: Projection = None) -> Document | None:
    """Return the document of the flow of a job, or None if there is none."""
    return aggregation.document(self.db.flows, {"jobs": job_uuid}, projection)


def get_job_uuids(self: ProjectAccess, flow_uuids: list[str]) -> list[str]:
    """Return the uuids of the jobs of some flows."""
    return aggregation.job_uuids(self.db, flow_uuids)


def get_flow_job_aggreg(  # noqa: PLR0913, PLR0917 - the reference's signature
    self: ProjectAccess,
    query: Document | None = None,
    projection_flow: Document | None = None,
    projection_job: Document | None = None,
    sort: list[tuple[str, int]] | None = None,
    jobs_sort: list[tuple[str, int]] | None = None,
    limit: int = 0,
) -> list[Document]:
    """Return flows with the documents of their jobs in ``jobs_list``; see `jfr_mp.database.aggregation`."""
    return aggregation.flows_with_jobs(
        self.db,
        query=query,
        flow_fields=projection_flow,
        job_fields=projection_job,
        sort=sort,
        jobs_sort=jobs_sort,
        limit=limit,
    )


def get_flow_jobs_data(
    self: ProjectAccess,
    query: Document | None = None,
    projection: Document | None = None,
    sort: Document | None = None,
    limit: int = 0,
) -> list[Document]:
    """Return flows with the documents of their jobs in ``jobs``, in the place of the uuids."""
    order = list((sort or {}).items()) if isinstance(sort, dict) else sort
    return aggregation.flows_with_jobs(
        self.db, query=query, into="jobs", flow_fields=projection, sort=order, limit=limit
    )
