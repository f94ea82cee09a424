"""Filters that select jobs or flows, and the queries that find them."""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from jfr_mp.errors import InvalidQuery
from jfr_mp.model import is_uuid
from jfr_mp.states import FlowState, JobState

if TYPE_CHECKING:
    from jfr_mp.database.connection import Doc, QueueDatabase

#: A job: its uuid and index.
JobId = tuple[str, int]

_Value = TypeVar("_Value")


@dataclass(frozen=True)
class JobFilter:
    """The jobs that satisfy all conditions; an empty filter selects every job.

    Parameters
    ----------
    job_ids
        (uuid, index) of the jobs.
    uuids, db_ids, workers
        The uuids or db_ids of the jobs, and the names of their workers.
    other_workers
        Workers whose jobs are excluded.
    flow_ids
        The uuids of flows, or for each flow the db_id of one of its jobs.
    states
        The states of the jobs.
    locked
        Only jobs that are locked.
    unlocked
        Only jobs that are not locked.
    places
        Only jobs whose files are in one of these places, or can be reached from everywhere; None for all.
    start_date, end_date
        The limits of `updated_on`; times without a zone are local.
    name
        The name of the job; the wildcards of `fnmatch` are allowed.
    metadata
        Values that the job's metadata must have; keys may be dotted paths.
    custom_query
        A MongoDB query; it must not contain keys that the other conditions use.
    further
        A MongoDB query that must match as well.
    """

    job_ids: Collection[JobId] | None = None
    uuids: Collection[str] | None = None
    db_ids: Collection[str] | None = None
    flow_ids: Collection[str] | None = None
    states: Collection[JobState] | None = None
    workers: Collection[str] | None = None
    other_workers: Collection[str] = ()
    places: Collection[str] | None = None
    locked: bool = False
    unlocked: bool = False
    start_date: datetime | None = None
    end_date: datetime | None = None
    name: str | None = None
    metadata: Mapping[str, Any] | None = None
    custom_query: Mapping[str, Any] = field(default_factory=dict)
    further: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, **conditions: Any) -> Self:
        """Return a filter for the parameters of jobflow-remote, in which a single value may be given instead of a list.

        An empty list imposes no condition, like None.
        """
        job_ids = conditions.pop("job_ids", None)
        pairs = [job_ids] if job_ids and isinstance(job_ids[0], str) else job_ids
        listed = _listed(conditions, "uuids", "db_ids", "flow_ids", "states", "workers")
        return cls(**{**conditions, **listed, "job_ids": pairs or None, **_custom(conditions)})

    def without_workers(self, workers: Collection[str]) -> JobFilter:
        """Return a copy of this filter that excludes the jobs of some workers."""
        return replace(self, other_workers=(*self.other_workers, *workers)) if workers else self

    def may_be_on(self, worker: str) -> bool:
        """Return whether the filter can select jobs of a worker."""
        return (self.workers is None or worker in self.workers) and worker not in self.other_workers

    def query(self, db: QueueDatabase) -> Doc:
        """Return the filter as a MongoDB query.

        Raises
        ------
        InvalidQuery
            `custom_query` repeats a condition.
        """
        query: Doc = {}
        if self.db_ids is not None:
            query["db_id"] = _among(self.db_ids)
        if self.uuids is not None:
            query["uuid"] = _among(self.uuids)
        if self.job_ids is not None:
            query |= _one_of([{"uuid": uuid, "index": index} for uuid, index in self.job_ids])
        if self.flow_ids is not None:
            query["job.hosts"] = _among([_flow_uuid(db, flow_id) for flow_id in self.flow_ids])
        query |= _workers(self.workers, self.other_workers)
        if self.places is not None:
            query["remote.place"] = {"$in": [None, *self.places]}
        query |= _common(self) | _named("job.", self.name, self.metadata)
        if repeated := sorted(query.keys() & self.custom_query.keys()):
            raise InvalidQuery(f"custom_query repeats conditions given by other parameters: {', '.join(repeated)}")
        query |= self.custom_query
        return {"$and": [query, dict(self.further)]} if query and self.further else query or dict(self.further)


@dataclass(frozen=True)
class FlowFilter:
    """The flows that satisfy all conditions; an empty filter selects every flow.

    Parameters
    ----------
    job_ids, db_ids
        The uuids or db_ids of jobs of the flows.
    flow_ids
        The uuids of the flows, or for each flow the db_id of one of its jobs.
    states, locked, unlocked, start_date, end_date, name, metadata, custom_query
        As in `JobFilter`, applied to the flow itself.
    """

    job_ids: Collection[str] | None = None
    db_ids: Collection[str] | None = None
    flow_ids: Collection[str] | None = None
    states: Collection[FlowState] | None = None
    locked: bool = False
    unlocked: bool = False
    start_date: datetime | None = None
    end_date: datetime | None = None
    name: str | None = None
    metadata: Mapping[str, Any] | None = None
    custom_query: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, **conditions: Any) -> Self:
        """Return a filter for the parameters of jobflow-remote; see `JobFilter.of`."""
        listed = _listed(conditions, "job_ids", "db_ids", "flow_ids", "states")
        return cls(**{**conditions, **listed, **_custom(conditions)})

    def query(self) -> Doc:
        """Return the filter as a MongoDB query."""
        query: Doc = {}
        if self.db_ids is not None:
            query["ids"] = {"$elemMatch": {"0": _among(self.db_ids)}}
        if self.job_ids is not None:
            query["jobs"] = _among(self.job_ids)
        if self.flow_ids is not None:
            query |= _of_flows(self.flow_ids)
        return {**query, **_common(self), **_named("", self.name, self.metadata), **self.custom_query}


#: The parameters of jobflow-remote's methods that are conditions of both kinds of filters.
CONDITIONS = (
    *("job_ids", "db_ids", "flow_ids", "states", "start_date", "end_date"),
    *("name", "metadata", "workers", "locked", "custom_query"),
)


def conditions(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the conditions among the parameters of a method, for `JobFilter.of` or `FlowFilter.of`."""
    return {name: value for name, value in given.items() if name in CONDITIONS}


def is_empty(wanted: JobFilter | FlowFilter) -> bool:
    """Return whether a filter has no condition and therefore selects everything."""
    return all(getattr(wanted, each.name) in (None, (), {}, False) for each in fields(wanted))


def _listed(conditions: Mapping[str, Any], *names: str) -> dict[str, list[Any] | None]:
    """Return some conditions as lists, or None for an empty one."""
    return {name: _as_list(conditions.get(name)) for name in names if name in conditions}


def _as_list(value: _Value | Sequence[_Value] | None) -> list[_Value] | None:
    if value is None or isinstance(value, str | JobState | FlowState):
        return None if not value else [cast("_Value", value)]
    return list(cast("Sequence[_Value]", value)) or None


def _custom(conditions: Mapping[str, Any]) -> dict[str, Any]:
    return {"custom_query": conditions.get("custom_query") or {}}


def _among(values: Collection[Any]) -> Any:
    """Return the condition that a field has one of the values; a single value is compared directly, for the index."""
    listed = list(values)
    return listed[0] if len(listed) == 1 else {"$in": listed}


def _one_of(alternatives: Sequence[Doc]) -> Doc:
    """Return the condition that one of the alternatives holds; without alternatives, it never holds."""
    if len(alternatives) == 1:
        return alternatives[0]
    return {"$or": list(alternatives)} if alternatives else {"db_id": {"$in": []}}


def _workers(wanted: Collection[str] | None, unwanted: Collection[str]) -> Doc:
    if wanted is not None:
        return {"worker": _among([name for name in wanted if name not in unwanted])}
    return {"worker": {"$nin": sorted(unwanted)}} if unwanted else {}


def _common(wanted: JobFilter | FlowFilter) -> Doc:
    query: Doc = {}
    if wanted.states is not None:
        query["state"] = _among([state.value for state in wanted.states])
    limits = {"$gte": wanted.start_date, "$lte": wanted.end_date}
    if updated := {operator: limit.astimezone(UTC) for operator, limit in limits.items() if limit}:
        query["updated_on"] = updated
    if wanted.locked:
        query["lock_id"] = {"$ne": None}
    if wanted.unlocked:
        query["lock_id"] = None
    return query


def _named(prefix: str, name: str | None, metadata: Mapping[str, Any] | None) -> Doc:
    query: Doc = {f"{prefix}metadata.{key}": value for key, value in (metadata or {}).items()}
    if name:
        query[f"{prefix}name"] = {"$regex": "^" + fnmatch.translate(name)}
    return query


def _of_flows(flow_ids: Collection[str]) -> Doc:
    uuids, db_ids = ([each for each in flow_ids if is_uuid(each) is wanted] for wanted in (True, False))
    if not db_ids:
        return {"uuid": _among(uuids)}
    return _one_of([{"uuid": _among(uuids)}, {"ids": {"$elemMatch": {"0": _among(db_ids)}}}])


def _flow_uuid(db: QueueDatabase, flow_id: str) -> str:
    """Return the uuid of a flow that is given by its uuid or by the db_id of one of its jobs."""
    if is_uuid(flow_id):
        return flow_id
    flow = db.flows.find_one({"ids": {"$elemMatch": {"0": flow_id}}}, {"uuid": 1})
    return str(flow["uuid"]) if flow else flow_id
