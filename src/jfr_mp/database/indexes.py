"""The indexes of the queue database: jobflow-remote's, and the ones that the queries of jfr-mp need."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pymongo.errors import OperationFailure

from jfr_mp.errors import NotAllowed

if TYPE_CHECKING:
    from pymongo.collection import Collection

    from jfr_mp.database.connection import Doc, QueueDatabase

logger = logging.getLogger(__name__)

Keys = tuple[tuple[str, int], ...]

#: IndexOptionsConflict, IndexKeySpecsConflict: an index of the same name or keys exists with other options.
_CONFLICT = (85, 86)


@dataclass(frozen=True)
class Index:
    """An index: keys with their direction, and the options of `create_index`."""

    keys: Keys
    options: Mapping[str, Any] = field(default_factory=dict)


def _on(*names: str, **options: Any) -> Index:
    """Return an index on some fields; a leading minus means descending."""
    return Index(tuple((name.lstrip("-"), -1 if name.startswith("-") else 1) for name in names), options)


#: It contains only locked documents, so that freeing the locks of a dead process reads nothing else.
_LOCKS = _on("lock_id", name="jfr_mp_locks", partialFilterExpression={"lock_id": {"$type": "string"}})

JOBS = (
    _on("db_id", unique=True),
    _on("uuid", "index", unique=True),
    _on("uuid"),
    _on("index"),
    _on("state"),
    _on("updated_on"),
    _on("name"),
    _on("worker"),
    _on("-priority"),
    _on("state", "remote.retry_time_limit"),
    # The following indexes are specific to jfr-mp. For claims: the next job of a state, without sorting.
    _on("state", "-priority", "created_on"),
    # The same for the jobs of some workers, and for counting them.
    _on("state", "worker", "-priority", "created_on"),
    # For the state of a flow, and its jobs.
    _on("job.hosts", "state"),
    # For the children of a job, and their parents that are not done.
    _on("parents", "state"),
    _on("uuid", "state"),
    _LOCKS,
)

FLOWS = (_on("uuid", unique=True), _on("name"), _on("state"), _on("updated_on"), _on("ids"), _on("jobs"), _LOCKS)

BATCHES = (
    _on("batch_uid", unique=True),
    _on("batch_uid", "start_time", unique=True),
    _on("worker", "batch_state"),
    _on("worker"),
    _on("batch_state"),
    _on("-updated_on"),
)


def ensure_indexes(db: QueueDatabase) -> None:
    """Create the missing indexes; this is cheap if none is missing."""
    for collection, wanted in ((db.jobs, JOBS), (db.flows, FLOWS), (db.batches, BATCHES)):
        present = {tuple((key, int(way)) for key, way in row["key"]) for row in collection.index_information().values()}
        for index in wanted:
            if index.keys not in present:
                _create(collection, index)


def missing_unique_indexes(db: QueueDatabase) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield the collection and the fields of each unique index that is missing."""
    for collection, wanted in ((db.jobs, JOBS), (db.flows, FLOWS), (db.batches, BATCHES)):
        rows = collection.index_information().values()
        unique = {tuple(key for key, _ in row["key"]) for row in rows if row.get("unique")}
        for index in wanted:
            fields = tuple(key for key, _ in index.keys)
            if index.options.get("unique") and fields not in unique:
                yield collection.name, fields


def _create(collection: Collection[Doc], index: Index) -> None:
    try:
        collection.create_index(list(index.keys), **index.options)
    except OperationFailure as error:
        if error.code not in _CONFLICT:
            raise
        logger.debug("the index %s of %s exists in another form: %s", index.keys, collection.name, error)


def create_indexes(
    collection: Collection[Doc], indexes: Iterable[str | Sequence[Sequence[Any]]], **options: Any
) -> None:
    """Create indexes of the user, each given as a field or as fields with their directions.

    Raises
    ------
    NotAllowed
        An index of the same fields exists with other options, or the documents are not unique.
    """
    for index in indexes:
        keys = [(index, 1)] if isinstance(index, str) else [(str(pair[0]), int(pair[1])) for pair in index]
        try:
            collection.create_index(keys, **options)
        except OperationFailure as error:
            reason = (error.details or {}).get("errmsg", "the database refused it")
            raise NotAllowed(f"the index {index} of {collection.name} cannot be created: {reason}") from error


def drop_indexes(db: QueueDatabase) -> None:
    """Drop all indexes of jobs, flows and batches except the indexes that the database makes itself."""
    for collection in (db.jobs, db.flows, db.batches):
        collection.drop_indexes()
