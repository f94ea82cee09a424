"""Making a managed database, and what a project file needs to know of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jfr_mp.config.options import EmbeddedDb
from jfr_mp.embedded.directory import Directory, Record
from jfr_mp.embedded.server import HOST, EmbeddedMongo


@dataclass(frozen=True)
class ManagedStores:
    """What a project file needs to know of a managed database, the password included.

    Parameters
    ----------
    queue_store
        The `store` of the field `queue`.
    jobstore
        The field `jobstore`.
    embedded_db
        The field `metadata.jfr_mp.embedded_db`.
    """

    queue_store: dict[str, Any] = field(repr=False)
    jobstore: dict[str, Any] = field(repr=False)
    embedded_db: dict[str, Any]


def create(directory: Path, port: int | None = None, *, database: str = "jfr_mp") -> ManagedStores:
    """Make a managed database and leave it running; one that is there already is used again.

    Parameters
    ----------
    directory
        Where everything of it will be kept.
    port
        The port on 127.0.0.1 for good; None chooses one that is free now.
    database
        The name of the database for queue and outputs.

    Raises
    ------
    EmbeddedError
        As for `EmbeddedMongo.start`, or the database that is there has another port.
    """
    home = Directory(directory)
    with home.explained():
        record = home.make(port)
    options = EmbeddedDb(dir=home.path, port=record.port)
    EmbeddedMongo(options).start()
    return ManagedStores(
        queue_store=_store(record, database, "jobs"),
        jobstore={"docs_store": _store(record, database, "outputs")},
        embedded_db={"dir": str(home.path), "port": record.port},
    )


def _store(record: Record, database: str, collection: str) -> dict[str, Any]:
    """Return the maggma store of a collection, as project files have it."""
    return {
        "type": "MongoStore",
        "host": HOST,
        "port": record.port,
        "database": database,
        "collection_name": collection,
        "username": record.username,
        "password": record.password,
        "auth_source": "admin",
    }
