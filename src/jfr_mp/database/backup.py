"""Writing and restoring backups of the queue database: every document exactly as MongoDB stores it.

A backup is verified before anything is restored, and read back afterwards. Its files are those of
`jfr_mp.database.backup_files`.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from bson import CodecOptions
from bson.errors import BSONError, InvalidBSON
from bson.raw_bson import RawBSONDocument
from pymongo.errors import PyMongoError

from jfr_mp.database import running_runner
from jfr_mp.database.backup_files import MEMBERS, Backup, BackupTarget, find_backup, writing
from jfr_mp.database.locks import UNLOCKED
from jfr_mp.database.setup import ensure_initialised
from jfr_mp.errors import BackupError
from jfr_mp.identity import our_version

if TYPE_CHECKING:
    from pymongo.client_session import ClientSession
    from pymongo.collection import Collection

    from jfr_mp.database.connection import QueueDatabase

#: Called with the name of a collection, the number of its documents done so far, and their total.
Progress = Callable[[str, int, int], None]

_RAW: CodecOptions[RawBSONDocument] = CodecOptions(document_class=RawBSONDocument)

#: Documents and bytes that are inserted at a time, and documents between two reports of progress.
_BATCH, _BATCH_BYTES, _STRIDE = 1000, 8_000_000, 100

#: The beginning of a BSON document: its length; and the bytes of the largest one that a server stores.
_HEAD, _LARGEST = struct.Struct("<i"), 16 * 2**20

#: The first protocol version of servers that can read several collections as of one moment (5.0).
_SNAPSHOT_VERSION = 13


@dataclass
class Fingerprint:
    """The number of some documents and a checksum that does not depend on their order."""

    count: int = 0
    total: int = 0

    def add(self, raw: Any) -> None:
        """Add one document."""
        self.count += 1
        self.total = (self.total + int.from_bytes(hashlib.sha256(raw).digest())) % (1 << 256)

    def as_dict(self) -> dict[str, Any]:
        """Return the fingerprint as the manifest states it."""
        return {"count": self.count, "sha256_sum": f"{self.total:064x}"}


def dump(db: QueueDatabase, path: Path, *, compress: bool = False, progress: Progress | None = None) -> dict[str, int]:
    """Write a backup and return the number of documents of each collection.

    While a runner is working, all collections are read as of one moment, which needs a replica set.

    Parameters
    ----------
    path, compress
        As for `jfr_mp.database.backup_files.writing`.
    progress
        Called periodically while documents are written.

    Raises
    ------
    BackupError
        The files cannot be written, or a runner is working and the server cannot read as of one moment.
    """
    collections = _collections(db)
    done: dict[str, Fingerprint] = {}
    with _session(db) as session, writing(path, database=db.db.name, compress=compress) as target:
        for name in MEMBERS:
            done[name] = _write(collections[name], session, target, name, progress)
        target.finish(_manifest(db, done))
    return {name: each.count for name, each in done.items()}


def restore(db: QueueDatabase, path: Path, *, progress: Progress | None = None) -> dict[str, int]:
    """Restore a backup into the empty database of this or another project; return the number of documents.

    Locks and the record of the running runner are not restored, because their owners do not work on this database.

    Parameters
    ----------
    path
        As for `jfr_mp.database.backup_files.find_backup`.
    progress
        Called periodically while documents are inserted.

    Raises
    ------
    BackupError
        The backup is damaged, the database is not empty, or a runner is working on it; nothing was changed. Or the
        documents that were read back differ from the backup; the database is empty again.
    """
    backup = find_backup(path)
    expected = verify(backup)
    _require_empty(db)
    collections = _collections(db)
    # The indexes come first: building them in empty collections takes no time.
    ensure_initialised(db)
    try:
        collections["jf_auxiliary"].delete_many({})
        for name in MEMBERS:
            _insert(collections[name], backup, name, expected[name].count, progress)
            _require_equal(collections[name], name, expected[name])
    except BaseException:
        for collection in collections.values():
            collection.delete_many({})
        ensure_initialised(db)
        raise
    _settle(db)
    return {name: each.count for name, each in expected.items()}


def verify(backup: Backup) -> dict[str, Fingerprint]:
    """Read a whole backup and return the fingerprint of each collection.

    Raises
    ------
    BackupError
        A file is damaged, or differs from what the manifest says.
    """
    found = {}
    for name in MEMBERS:
        found[name] = fingerprint = Fingerprint()
        with backup.member(name) as file:
            for raw in _documents(file, name) if file else ():
                fingerprint.add(raw)
        stated = backup.manifest.get("collections", {}).get(name)
        if stated is not None and stated != fingerprint.as_dict():
            raise BackupError(
                f"the backup {backup.path} is damaged: {name}.bson has {fingerprint.count} documents, and it or its "
                f"checksum differs from the manifest, which says {stated.get('count')}; nothing was restored"
            )
    return found


def missing_workers(db: QueueDatabase) -> list[str]:
    """Return the workers of jobs that the project of a database does not have."""
    return sorted(set(db.jobs.distinct("worker")) - db.project.workers.keys())


def _collections(db: QueueDatabase) -> dict[str, Collection[RawBSONDocument]]:
    """Return the collections by the names of their files, which jobflow-remote chose."""
    found = {"jobs": db.jobs, "flows": db.flows, "jf_auxiliary": db.auxiliary, "batches": db.batches}
    return {name: each.with_options(codec_options=_RAW) for name, each in found.items()}


def _session(db: QueueDatabase) -> Any:
    """Return a session that reads all collections as of one moment, or none if nothing changes them."""
    if running_runner.read(db) is None:
        return nullcontext()
    if not (db.supports_transactions and db.client.admin.command("hello")["maxWireVersion"] >= _SNAPSHOT_VERSION):
        raise BackupError(
            "a runner is working on this database, whose server cannot read all collections as of one moment; stop "
            "the runner first (`jfr-mp stop`)"
        )
    return db.client.start_session(snapshot=True)


def _write(
    collection: Collection[RawBSONDocument],
    session: ClientSession | None,
    target: BackupTarget,
    name: str,
    progress: Progress | None,
) -> Fingerprint:
    written = Fingerprint()
    total = collection.count_documents({}, session=session) if progress else 0
    with target.member(name) as file:
        for document in collection.find({}, session=session):
            file.write(document.raw)
            written.add(document.raw)
            if progress and written.count % _STRIDE == 0:
                progress(name, written.count, total)
    if progress:
        progress(name, written.count, written.count)
    return written


def _manifest(db: QueueDatabase, written: Mapping[str, Fingerprint]) -> dict[str, Any]:
    return {
        "jfr_mp_version": our_version(),
        "project": db.project.name,
        "database": db.db.name,
        "created_on": datetime.now(UTC).isoformat(timespec="seconds"),
        "collections": {name: each.as_dict() for name, each in written.items()},
    }


def _documents(file: IO[bytes], name: str) -> Iterator[bytes]:
    """Read BSON documents one by one."""
    number = 0
    while head := file.read(_HEAD.size):
        number += 1
        size = _HEAD.unpack(head)[0] if len(head) == _HEAD.size else 0
        raw = head + file.read(min(max(size - _HEAD.size, 0), _LARGEST))
        try:
            if size > _LARGEST:
                raise InvalidBSON(f"it claims {size} bytes, more than MongoDB stores")
            if len(raw) != size:
                raise InvalidBSON("it ends too early")
            RawBSONDocument(raw).items()
        except InvalidBSON as error:
            raise BackupError(f"the backup is damaged: document {number} of {name}.bson: {error}") from error
        yield raw


def _require_empty(db: QueueDatabase) -> None:
    if running_runner.read(db) is not None:
        raise BackupError("a runner is working on this database; stop it first (`jfr-mp stop`)")
    for name, collection in (("jobs", db.jobs), ("flows", db.flows), ("batches", db.batches)):
        if count := collection.count_documents({}):
            raise BackupError(
                f"the database of project {db.project.name!r} is not empty: its collection of {name} has {count} "
                "documents. Restore into another project, or delete everything first with `jfr-mp admin reset`"
            )


def _insert(
    collection: Collection[RawBSONDocument], backup: Backup, name: str, total: int, progress: Progress | None
) -> None:
    done = 0
    with backup.member(name) as file:
        for batch in _batches(_documents(file, name)) if file else ():
            try:
                collection.insert_many([RawBSONDocument(raw) for raw in batch])
            except (PyMongoError, BSONError) as error:
                raise BackupError(f"the documents of {name}.bson cannot be inserted: {error}") from error
            done += len(batch)
            if progress:
                progress(name, done, total)


def _batches(documents: Iterator[bytes]) -> Iterator[list[bytes]]:
    batch: list[bytes] = []
    size = 0
    for raw in documents:
        if batch and (len(batch) == _BATCH or size + len(raw) > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(raw)
        size += len(raw)
    if batch:
        yield batch


def _require_equal(collection: Collection[RawBSONDocument], name: str, expected: Fingerprint) -> None:
    """Read a collection back and compare it with the backup."""
    stored = Fingerprint()
    for document in collection.find({}):
        stored.add(document.raw)
    if stored != expected:
        raise BackupError(
            f"{stored.count} documents of {name} were read back that differ from the {expected.count} of the backup; "
            "the database is empty again. Does another process write to it?"
        )


def _settle(db: QueueDatabase) -> None:
    """Remove what belongs to the runner that worked on the backed-up database, and complete the rest."""
    for collection in (db.jobs, db.flows, db.auxiliary):
        collection.update_many({"lock_id": {"$ne": None}}, {"$set": dict(UNLOCKED)})
    db.auxiliary.update_many({"running_runner": {"$ne": None}}, {"$set": {"running_runner": None}})
    running_runner.forget_pings(db)
    ensure_initialised(db)
