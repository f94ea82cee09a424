"""`find_conflicts`: what projects share that each must have for itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jfr_mp.database.address import address_of, is_native

if TYPE_CHECKING:
    from jfr_mp.config import Project
    from jfr_mp.config.workers import WorkerBase

_DIRECTORIES = ("base_dir", "tmp_dir", "log_dir", "daemon_dir")
_COLLECTIONS = ("flows_collection", "auxiliary_collection", "batches_collection")


@dataclass(frozen=True)
class Conflict:
    """Something that several projects share.

    Parameters
    ----------
    kind
        ``directory``, ``collection`` or ``jobs_handle_dir``.
    what
        The thing that they share.
    fields
        The fields of the project files that name it, as ``project: field``.
    cure
        What to do about it.
    """

    kind: str
    what: str
    fields: tuple[str, ...]
    cure: str


#: Why each kind of thing must not be shared.
_CURES = {
    "directory": "each project needs directories of its own",
    "collection": "two runners would take each other's jobs; give one of the projects another database or collection",
    "jobs_handle_dir": "batches would take jobs of another project; choose another directory for one of the workers",
}


def find_conflicts(projects: Mapping[str, Project]) -> list[Conflict]:
    """Return what projects share that each must have for itself: directories, collections, and pools of batches.

    Nothing is opened: only the project files are compared. A host or a server that goes by two names counts as two.
    """
    uses: dict[tuple[str, Hashable], list[tuple[str, str]]] = defaultdict(list)
    for name, project in projects.items():
        for kind, thing, field in _uses_of(project):
            uses[kind, thing].append((name, field))
    return [
        Conflict(kind, _text(thing), tuple(f"{name}: {field}" for name, field in users), _CURES[kind])
        for (kind, thing), users in uses.items()
        if len({name for name, _ in users}) > 1
    ]


def _uses_of(project: Project) -> Iterator[tuple[str, Hashable, str]]:
    for field in _DIRECTORIES:
        yield "directory", Path(getattr(project, field)), field
    for field, collection in _queue_collections(project):
        yield "collection", collection, field
    for name, worker in project.workers.items():
        if worker.batch is not None:
            where = (_machine(worker), str(worker.batch.jobs_handle_dir))
            yield "jobs_handle_dir", where, f"workers.{name}.batch.jobs_handle_dir"


def _queue_collections(project: Project) -> Iterator[tuple[str, Hashable]]:
    queue = _address(project.queue.store)
    if queue is None:
        return
    yield "queue.store", queue
    for field in _COLLECTIONS:
        yield f"queue.{field}", (*queue[:-1], getattr(project.queue, field))


def _address(store: Mapping[str, Any]) -> tuple[str, ...] | None:
    if not store or not is_native(store):
        return None
    address = address_of(store)
    return address.hosts, address.database, address.collection


def _machine(worker: WorkerBase) -> str:
    return "this machine" if worker.is_local else f"{getattr(worker, 'host', '')}:{getattr(worker, 'port', None) or 22}"


def _text(thing: Hashable) -> str:
    return " ".join(thing) if isinstance(thing, tuple) else str(thing)
