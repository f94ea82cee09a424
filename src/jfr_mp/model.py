"""The documents of the queue database as pydantic models.

The layout is jobflow-remote's, so that both packages read each other's documents; unknown fields are kept. A job's
`job` field stays a plain dictionary here: nothing but the worker needs the real jobflow object, or the packages that
its inputs come from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, field_validator

from jfr_mp.states import FlowState, JobState


def is_uuid(text: str) -> bool:
    """Return whether a text is a valid uuid of a job, a flow or a batch."""
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def utcnow() -> datetime:
    """Return the current time in UTC, truncated to milliseconds, the precision of MongoDB."""
    now = datetime.now(UTC)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


class Document(BaseModel):
    """The base of all documents: unknown fields are kept, times are timezone-aware and in UTC."""

    model_config = ConfigDict(extra="allow", defer_build=True)

    @field_validator("*", mode="after")
    @classmethod
    def _aware(cls, value: Any) -> Any:
        """Add the time zone to a naive time: MongoDB stores UTC and returns it without a zone."""
        if isinstance(value, datetime) and value.tzinfo is None:
            return value.replace(tzinfo=UTC)
        return value


class RemoteInfo(Document):
    """The part of a job that belongs to its worker."""

    step_attempts: int = 0
    queue_state: str | None = None
    process_id: str | None = None
    retry_time_limit: datetime | None = None
    error: str | None = None
    prerun_cleanup: bool = False
    queue_out: str | None = None
    queue_err: str | None = None

    @property
    def submission(self) -> str | None:
        """The token of the last submission; it distinguishes the journal lines of one run from those of earlier runs.

        This field is specific to jfr-mp: documents written by jobflow-remote do not have it.
        """
        token = (self.model_extra or {}).get("submission")
        return None if token is None else str(token)

    @property
    def home(self) -> str | None:
        """The place of the run directory of a job on a local worker; see `jfr_mp.places`. It is specific to jfr-mp."""
        return self._text("home")

    @property
    def outputs(self) -> str | None:
        """The token of its output files in the queue database; see `jfr_mp.database.output_files`."""
        return self._text("outputs")

    @property
    def hung_steps(self) -> int:
        """How often steps of the job have exceeded their limits in a row; this field is specific to jfr-mp, too."""
        number = (self.model_extra or {}).get("hung_steps")
        return number if isinstance(number, int) else 0

    def _text(self, name: str) -> str | None:
        """Return a field that is specific to jfr-mp; None if it is not a text."""
        value = (self.model_extra or {}).get(name)
        return value if isinstance(value, str) else None


class JobRecord(Document):
    """The fields that job documents and job listings share."""

    uuid: str
    index: int
    db_id: str
    worker: str
    state: JobState
    remote: RemoteInfo = Field(default_factory=RemoteInfo)
    parents: list[str] | None = None
    previous_state: JobState | None = None
    error: str | None = None
    lock_id: str | None = None
    lock_time: datetime | None = None
    run_dir: str | None = None
    start_time: datetime | None = None
    end_time: datetime | None = None
    created_on: datetime = Field(default_factory=utcnow)
    updated_on: datetime = Field(default_factory=utcnow)
    priority: int = 0
    stored_data: dict[str, Any] | None = None

    @property
    def is_locked(self) -> bool:
        """Whether a process is working on this job now."""
        return self.lock_id is not None

    @property
    def run_time(self) -> float | None:
        """The run time of the job's function in seconds, or None if it has not ended."""
        if self.start_time and self.end_time:
            return (self.end_time - self.start_time).total_seconds()
        return None

    @property
    def estimated_run_time(self) -> float | None:
        """Seconds since the job started, or None if it has not started."""
        if self.start_time:
            return (datetime.now(UTC) - self.start_time).total_seconds()
        return None


class JobDoc(JobRecord):
    """A document of the jobs collection.

    `exec_config` is the name of a configuration in the project, or the serialized configuration itself. `resources` is
    a dictionary for the scheduler's template, or a serialized QResources.
    """

    job: dict[str, Any]
    exec_config: dict[str, Any] | str | None = None
    resources: dict[str, Any] | None = None

    def as_db_dict(self) -> dict[str, Any]:
        """Return the document as MongoDB stores it."""
        return stored(self)

    @property
    def name(self) -> str:
        """The name that the user gave the job."""
        return str(self.job.get("name", ""))

    @property
    def hosts(self) -> list[str]:
        """The uuids of the enclosing flows, innermost first; see `jfr_mp.database.flow_lookup`."""
        hosts = self.job.get("hosts")
        return [str(uuid) for uuid in hosts] if isinstance(hosts, list | tuple) else []


class JobInfo(JobRecord):
    """A job as shown in lists and tables, without its inputs."""

    name: str
    metadata: dict[str, Any] | None = None
    hosts: list[str] | None = None

    @classmethod
    def from_query_output(cls, document: dict[str, Any]) -> Self:
        """Build a `JobInfo` from a document fetched with `JOB_INFO_PROJECTION`."""
        job = document.pop("job", None)
        if not isinstance(job, dict):
            job = {}
        return cls.model_validate({**document, **{key: job.get(key) for key in ("name", "metadata", "hosts")}})


#: The fields of a job document that a `JobInfo` needs.
JOB_INFO_PROJECTION = [
    *(name for name in JobInfo.model_fields if name not in ("name", "metadata", "hosts")),
    "job.name",
    "job.metadata",
    "job.hosts",
]


class Outage(BaseModel):
    """A host that is currently unreachable.

    Parameters
    ----------
    host
        The workers on the host, separated by commas.
    since
        The time of the first failed attempt.
    why
        The reason of the last failed attempt.
    next_try
        The time of the next attempt.
    wants_login
        Whether the user has to log in.
    """

    host: str
    since: datetime
    why: str
    next_try: datetime
    wants_login: bool = False


class Transfer(BaseModel):
    """A file transfer in progress.

    Parameters
    ----------
    db_id, worker
        The job that the file belongs to, and the worker at the other end.
    direction
        ``upload`` or ``download``.
    since
        The time at which the transfer of the job's files began.
    done_bytes, total_bytes
        The number of bytes transferred so far, and the size of the file.
    """

    db_id: str
    worker: str
    direction: Literal["upload", "download"]
    since: datetime
    done_bytes: int
    total_bytes: int


class StepInHand(BaseModel, frozen=True):
    """A step that a process has been performing for a while.

    Parameters
    ----------
    step
        The name of the step.
    db_id
        The job; None for a survey, which examines many jobs.
    since
        The time at which it began.
    limit
        The time in seconds after which it is given up.
    """

    step: str
    db_id: str | None
    since: datetime
    limit: float


class Condition(BaseModel):
    """The condition that a process reports about itself; None means no change.

    Parameters
    ----------
    state
        ``RUNNING`` once the process is ready for work; ``STARTING`` while it waits, for example for the database.
    last_error
        The last error.
    outages
        The hosts that are unreachable.
    transfers
        The transfers that have been in progress for a while.
    steps
        The steps that have been in progress for a while.
    """

    state: str = "RUNNING"
    last_error: str | None = None
    outages: list[Outage] | None = None
    transfers: list[Transfer] | None = None
    steps: list[StepInHand] | None = None

    def updated(self, news: Condition) -> Self:
        """Return this condition updated with a newer report."""
        return self.model_copy(update={field: value for field, value in news if value is not None})


class FlowDoc(Document):
    """A document of the flows collection.

    `parents` maps the uuid of a job to a mapping from its index to the uuids of its parents; the index is text because
    MongoDB requires text keys. `ids` holds (db_id, uuid, index) of each job.
    """

    uuid: str
    jobs: list[str]
    state: FlowState
    name: str
    lock_id: str | None = None
    lock_time: datetime | None = None
    created_on: datetime = Field(default_factory=utcnow)
    updated_on: datetime = Field(default_factory=utcnow)
    metadata: dict[str, Any] = Field(default_factory=dict)
    parents: dict[str, dict[str, list[str] | None]] = Field(default_factory=dict)
    ids: list[tuple[str, str, int]] = Field(default_factory=list)
    jobstore: str | None = None

    def as_db_dict(self) -> dict[str, Any]:
        """Return the document as MongoDB stores it."""
        return {**stored(self), "ids": [list(row) for row in self.ids]}

    @property
    def ids_mapping(self) -> dict[str, dict[int, str]]:
        """The db_ids of the jobs, by uuid and index."""
        return db_ids_by_job(self.ids)

    @property
    def int_index_parents(self) -> dict[str, dict[int, list[str]]]:
        """The uuids of the parents of each job, by uuid and index."""
        return {
            uuid: {int(index): parents or [] for index, parents in by_index.items()}
            for uuid, by_index in self.parents.items()
        }

    @property
    def children(self) -> dict[str, list[tuple[str, int]]]:
        """The uuid and index of each child of a job, by the uuid of the job; a job without children is missing."""
        found: dict[str, list[tuple[str, int]]] = {}
        for uuid, by_index in self.int_index_parents.items():
            for index, parents in by_index.items():
                for parent in parents:
                    found.setdefault(parent, []).append((uuid, index))
        return found

    def descendants(self, job_uuid: str) -> list[tuple[str, int]]:
        """Return the uuid and index of each job that depends on a job, directly or not."""
        children, found, waiting = self.children, dict[tuple[str, int], None](), [job_uuid]
        while waiting:
            new = [child for child in children.get(waiting.pop(), ()) if child not in found]
            found.update(dict.fromkeys(new))
            waiting += [uuid for uuid, _ in new]
        return list(found)


class FlowInfo(Document):
    """A flow as shown in lists and tables; the lists are parallel, with one entry per job."""

    db_ids: list[str]
    job_ids: list[str]
    job_indexes: list[int]
    flow_id: str
    state: FlowState
    name: str
    created_on: datetime
    updated_on: datetime
    workers: list[str] = Field(default_factory=list)
    job_states: list[JobState] = Field(default_factory=list)
    job_names: list[str] = Field(default_factory=list)
    parents: list[list[str]] = Field(default_factory=list)
    hosts: list[list[str]] = Field(default_factory=list)
    flow_metadata: dict[str, Any] = Field(default_factory=dict)
    jobs_info: list[JobInfo] | None = None

    @property
    def ids_mapping(self) -> dict[str, dict[int, str]]:
        """The db_ids of the jobs, by uuid and index."""
        return db_ids_by_job(zip(self.db_ids, self.job_ids, self.job_indexes, strict=True))

    def iter_job_prop(self) -> Iterator[dict[str, Any]]:
        """Yield db_id, uuid and index of each job and, if the jobs were read, name, state, parents and hosts."""
        lists: dict[str, list[Any]] = {"db_id": self.db_ids, "uuid": self.job_ids, "index": self.job_indexes}
        if self.job_names:
            lists |= {"name": self.job_names, "state": self.job_states, "parents": self.parents, "hosts": self.hosts}
        for values in zip(*lists.values(), strict=True):
            yield dict(zip(lists, values, strict=True))


def stored(document: Document) -> dict[str, Any]:
    """Return a document as MongoDB stores it: states are texts."""
    dumped = document.model_dump(mode="python")
    return {key: value.value if isinstance(value, Enum) else value for key, value in dumped.items()}


def db_ids_by_job(ids: Iterable[tuple[str, str, int]]) -> dict[str, dict[int, str]]:
    """Return db_ids by uuid and index from (db_id, uuid, index) of each job."""
    found: dict[str, dict[int, str]] = {}
    for db_id, uuid, index in ids:
        found.setdefault(uuid, {})[int(index)] = db_id
    return found


def build_models() -> None:
    """Make the validators of all models of jfr-mp that are imported, which otherwise the first use of each does."""
    for model in _subclasses(BaseModel):
        if model.__module__.startswith("jfr_mp."):
            model.model_rebuild()


def _subclasses(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for subclass in model.__subclasses__():
        yield subclass
        yield from _subclasses(subclass)
