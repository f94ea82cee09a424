"""New documents of jobs and flows, in jobflow-remote's layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from jfr_mp.database.new_jobs import NewJob, sanitized
from jfr_mp.model import FlowDoc, JobDoc
from jfr_mp.states import FlowState, JobState

if TYPE_CHECKING:
    from jobflow import Flow

    from jfr_mp.config import ExecutionConfig

Doc = dict[str, Any]


@dataclass(frozen=True)
class JobOptions:
    """How the jobs of a flow run; a job's own configuration (`manager_config`) takes precedence."""

    worker: str
    exec_config: ExecutionConfig | Mapping[str, Any] | str | None = None
    resources: Any = None
    priority: int = 0

    @classmethod
    def of_job(cls, job: JobDoc) -> JobOptions:
        """Return the options of an existing job, for the jobs that it returned."""
        return cls(job.worker, job.exec_config, job.resources, job.priority)


def job_document(new: NewJob, db_id: str, options: JobOptions, inherited: Sequence[str] | None = ()) -> Doc:
    """Return the document of a new job: WAITING if it has parents, otherwise READY.

    A job that depends on no other one of its flow has the parents `inherited`.
    """
    job, parents = new.job, new.parents or inherited
    own = job.config.manager_config
    resources = own.get("resources")
    document = JobDoc(
        job=new.content,
        uuid=job.uuid,
        index=job.index,
        db_id=db_id,
        worker=own.get("worker") or options.worker,
        state=JobState.WAITING if parents else JobState.READY,
        parents=None if parents is None else list(parents),
        priority=own.get("priority") or options.priority,
        exec_config=_exec_config(own.get("exec_config") or options.exec_config),
        resources=_resources(options.resources if resources is None else resources),
    )
    return document.as_db_dict()


def flow_document(flow: Flow, jobs: Sequence[Mapping[str, Any]], jobstore: str | None) -> Doc:
    """Return the document of a new flow with these job documents."""
    document = FlowDoc(
        uuid=flow.uuid,
        jobs=[job["uuid"] for job in jobs],
        state=FlowState.READY,
        name=flow.name,
        metadata=sanitized(flow.metadata or {}),
        # The index of a job in a new flow is 1. A job that replaces another is appended later, with its actual index.
        parents={job["uuid"]: {"1": job["parents"]} for job in jobs},
        ids=[(job["db_id"], job["uuid"], job["index"]) for job in jobs],
        jobstore=jobstore,
    )
    return document.as_db_dict()


def _exec_config(value: Any) -> Doc | str | None:
    """Return a complete execution configuration; `value` may be jobflow-remote's object or its serialized form."""
    from jfr_mp.config import ExecutionConfig

    if value is None or isinstance(value, str):
        return value
    fields = value.model_dump() if isinstance(value, BaseModel) else value
    known = {key: field for key, field in fields.items() if not key.startswith("@")}
    return ExecutionConfig.model_validate(known).model_dump()


def _resources(value: Any) -> Doc | None:
    if value is None:
        return None
    document: Doc = sanitized(value)
    return document
