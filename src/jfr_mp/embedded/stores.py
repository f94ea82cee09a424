"""Creating a managed database, and the settings of a project file for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jfr_mp.config.options import EmbeddedDb
from jfr_mp.embedded.directory import Directory, Record
from jfr_mp.embedded.server import HOST, EmbeddedMongo


@dataclass(frozen=True)
class ManagedStores:
    """The settings of a project file for a managed database, including the password.

    Parameters
    ----------
    queue_store
        The value of `queue.store`.
    jobstore
        The value of `jobstore`.
    embedded_db
        The value of `metadata.jfr_mp.embedded_db`.
    """

    queue_store: dict[str, Any] = field(repr=False)
    jobstore: dict[str, Any] = field(repr=False)
    embedded_db: dict[str, Any]


def create(directory: Path, port: int | None = None, *, database: str = "jfr_mp") -> ManagedStores:
    """Create a managed database, or use an existing one, start it and return its settings.

    Parameters
    ----------
    directory
        The directory for all its files.
    port
        The permanent port on 127.0.0.1; None chooses a free port.
    database
        The name of the database for queue and outputs.

    Raises
    ------
    EmbeddedError
        As for `EmbeddedMongo.start`, or the existing database has another port.
    """
    home = Directory(directory)
    with home.explained():
        record = home.make(port)
    options = EmbeddedDb(dir=home.path, port=record.port)
    EmbeddedMongo(options).start()
    return ManagedStores(
        queue_store=_store(record, database, "jobs"),
        jobstore={
            "docs_store": _store(record, database, "outputs"),
            # Many makers put large outputs into a store of this name; GridFS has no limit of 16 MB.
            "additional_stores": {"data": _store(record, database, "outputs_data", kind="GridFSStore")},
        },
        embedded_db={"dir": str(home.path), "port": record.port},
    )


def _store(record: Record, database: str, collection: str, kind: str = "MongoStore") -> dict[str, Any]:
    """Return the description of the maggma store of a collection."""
    return {
        "type": kind,
        "host": HOST,
        "port": record.port,
        "database": database,
        "collection_name": collection,
        "username": record.username,
        "password": record.password,
        "auth_source": "admin",
    }
