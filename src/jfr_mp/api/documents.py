"""The documents that `JobController` returns: jobflow-remote's models, whose times are in UTC and have no time zone.

Everywhere else in jfr-mp, times are timezone-aware. `JobDoc`, which needs jobflow, is in `jfr_mp.api.job_documents`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Self

from pydantic import BaseModel, Field, field_validator

from jfr_mp import model
from jfr_mp.api.notebook import flow_html, job_html
from jfr_mp.states import FlowState, JobState


def naive(value: Any) -> Any:
    """Return a time in UTC without its time zone; any other value as it is."""
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(UTC).replace(tzinfo=None)
    return value


class DbCollection(Enum):
    """The collections by which scripts name them."""

    JOBS = "jobs"
    FLOWS = "flows"
    AUX = "aux"
    BATCHES = "batches"


class NaiveTimes(BaseModel):
    """A mixin for documents whose times have no time zone."""

    @field_validator("*", mode="after")
    @classmethod
    def _aware(cls, value: Any) -> Any:
        return naive(value)


class RemoteInfo(NaiveTimes, model.RemoteInfo):
    """The part of a job that belongs to its worker."""


class JobInfo(NaiveTimes, model.JobInfo):
    """A job without its inputs."""

    remote: RemoteInfo = Field(default_factory=RemoteInfo)

    @property
    def estimated_run_time(self) -> float | None:
        """Seconds since the job started, or None if it has not started."""
        if self.start_time:
            return (datetime.now(UTC) - self.start_time.replace(tzinfo=UTC)).total_seconds()
        return None

    def _repr_html_(self) -> str:
        """Return it as a notebook shows it."""
        return job_html(self)

    @classmethod
    def of(cls, job: model.JobInfo) -> Self:
        """Return a job with naive times."""
        return cls.model_validate(job.model_dump())


class FlowDoc(NaiveTimes, model.FlowDoc):
    """A document of the flows collection."""


class FlowInfo(NaiveTimes, model.FlowInfo):
    """A flow; the lists are parallel, with one entry per job."""

    jobs_info: list[JobInfo] | None = None  # type: ignore[assignment]  # the same with naive times

    def _repr_html_(self) -> str:
        """Return it as a notebook shows it."""
        return flow_html(self)

    @classmethod
    def of(cls, flow: model.FlowInfo) -> Self:
        """Return a flow with naive times."""
        return cls.model_validate(flow.model_dump())

    @classmethod
    def from_query_dict(cls, document: Mapping[str, Any]) -> Self:
        """Build a `FlowInfo` from a document of a flow, with the documents of its jobs in ``jobs_list`` if wanted."""
        jobs = [JobInfo.from_query_output(dict(job)) for job in document.get("jobs_list") or ()]
        ids = [(job.db_id, job.uuid, job.index) for job in jobs] or document["ids"]
        return cls(
            db_ids=[row[0] for row in ids],
            job_ids=[row[1] for row in ids],
            job_indexes=[row[2] for row in ids],
            flow_id=document["uuid"],
            state=FlowState(document["state"]),
            name=document["name"],
            created_on=document["created_on"],
            updated_on=document["updated_on"],
            workers=[job.worker for job in jobs],
            job_states=[JobState(job.state) for job in jobs],
            job_names=[job.name for job in jobs],
            parents=[job.parents or [] for job in jobs],
            hosts=[job.hosts or [] for job in jobs],
            flow_metadata=document["metadata"],
            jobs_info=jobs or None,
        )
