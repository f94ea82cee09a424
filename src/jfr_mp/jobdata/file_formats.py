"""The built-in formats of transfer stores: each store is one file that is written as a whole.

Class names, constructor arguments and file contents are those of jobflow-remote's ``remote/data.py``. A serialized
store names that module, so that jobflow-remote's worker command can open it. This module imports maggma; import it
late.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn, cast

import orjson
from maggma.core import Store
from maggma.stores import JSONStore
from maggma.utils import to_dt
from monty.io import zopen

from jfr_mp.database import extended_json
from jfr_mp.jobdata.files import PEER_MODULE, replacing
from jfr_mp.jobdata.untrusted import STORE_LIMIT, parse_time, read_store

#: The version of jobflow-remote with this format.
_PEER_VERSION = "1.0.1"
_MSGPACK_TIME = "%Y%m%dT%H:%M:%S.%f"


def plain_float(value: Any) -> float:
    """Convert subclasses of float, such as numpy's, to floats that orjson can write."""
    if isinstance(value, float):
        return float(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def _as_peer(document: dict[str, Any]) -> dict[str, Any]:
    """Return a serialized store that names jobflow-remote's module."""
    return {**document, "@module": PEER_MODULE, "@version": _PEER_VERSION}


class StdJSONStore(JSONStore):
    """The default format: a JSON file behind maggma's query interface."""

    _damage: Exception | None = None

    def __init__(self, paths: str | list[str], **kwargs: Any) -> None:
        super().__init__(paths=paths, serialization_default=plain_float, read_only=False, **kwargs)

    def as_dict(self) -> dict[str, Any]:
        """Return the serialized form."""
        return _as_peer(super().as_dict())

    def connect(self, force_reset: bool = False) -> None:
        """Read the file and raise an error if it is damaged; maggma would treat it as empty."""
        super().connect(force_reset)
        if self._damage is not None:
            raise self._damage

    def read_json_file(self, path: Any) -> list[Any]:
        """Read a file; if that fails, keep the error for `connect`.

        maggma's own method follows links, waits for a FIFO and imports the class that a time names.
        """
        try:
            return self.read(Path(path))
        except Exception as error:  # maggma hides errors of any type
            self._damage = error
            raise

    def read(self, path: Path) -> list[dict[str, Any]]:
        """Return the documents of a file."""
        content = read_store(path, STORE_LIMIT)
        documents = extended_json.loads(content) if extended_json.is_extended(content) else orjson.loads(content)
        return _documents(documents, self.last_updated_field)

    def update_json_file(self) -> None:
        """Write all documents to the file, without changing any value."""
        documents = [{key: value for key, value in doc.items() if key != "_id"} for doc in self.query()]
        _write(Path(self.paths[0]), extended_json.documents_as_json(documents))


class MinimalFileStore(Store):
    """A list of documents in a file: read by `connect`, extended by `update`, written by `close`.

    Only the methods that are needed to run a job and copy its output are implemented; the others raise
    NotImplementedError.
    """

    #: Whether values that the format cannot express may be written as extended JSON.
    exact = False

    def __init__(self, path: str, **kwargs: Any) -> None:
        self.path = path
        self.kwargs = kwargs
        self.data: list[dict[str, Any]] = []
        self._is_written = True
        super().__init__(**kwargs)

    @abstractmethod
    def encode(self, documents: list[dict[str, Any]]) -> bytes:
        """Return the content of a file with these documents."""

    @abstractmethod
    def decode(self, content: bytes) -> Any:
        """Return the documents, or the one document, of a file."""

    def as_dict(self) -> dict[str, Any]:
        """Return the serialized form."""
        return _as_peer(super().as_dict())

    @property
    def name(self) -> str:
        """The name of the format, with the path of the file."""
        return f"{type(self).__name__}://{self.path}"

    def connect(self, force_reset: bool = False) -> None:
        """Read the file; if there is none, write an empty one."""
        if not Path(self.path).exists():
            self._write()
            return
        content = read_store(Path(self.path), STORE_LIMIT)
        self.data = _documents(self.decode(content) if content else [], self.last_updated_field)

    def close(self) -> None:
        """Write the documents added by `update`."""
        if not self._is_written:
            self._write()

    def update(self, docs: list[dict[str, Any]] | dict[str, Any], key: list[str] | str | None = None) -> None:
        """Add documents; `key` is ignored, because a job writes each document once."""
        self.data.extend(docs if isinstance(docs, list) else [docs])
        self._is_written = False

    def query(
        self,
        criteria: Any = None,
        properties: Any = None,
        sort: Any = None,
        skip: int = 0,
        limit: int = 0,
    ) -> Iterator[dict[str, Any]]:
        """Return all documents; selecting documents is not supported."""
        if criteria or properties or sort or skip or limit:
            self._refuse()
        return iter(self.data)

    def count(self, criteria: Any = None) -> int:
        """Return the number of documents."""
        return len(self.data)

    @property
    def _collection(self) -> NoReturn:
        self._refuse()

    def ensure_index(self, key: str, unique: bool = False) -> NoReturn:
        """Raise NotImplementedError."""
        self._refuse()

    def groupby(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Raise NotImplementedError."""
        self._refuse()

    def remove_docs(self, criteria: dict[str, Any]) -> NoReturn:
        """Raise NotImplementedError."""
        self._refuse()

    def __hash__(self) -> int:
        return hash((self.path, self.last_updated_field))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, type(self)):
            return False
        return (self.path, self.last_updated_field) == (other.path, other.last_updated_field)

    def _write(self) -> None:
        for document in self.data:
            document.pop("_id", None)
        _write(Path(self.path), self.encode(self.data))
        self._is_written = True

    def _refuse(self) -> NoReturn:
        raise NotImplementedError(
            f"{type(self).__name__} does not support queries; "
            "use remote_jobstore {'store': 'maggma_json'} for jobs that query their store"
        )


class MinimalJSONStore(MinimalFileStore):
    """JSON: NaN, times and bytes need extended JSON, instead of which jobflow-remote writes null or text."""

    def encode(self, documents: list[dict[str, Any]]) -> bytes:
        """Return a JSON array."""
        return extended_json.documents_as_json(documents) if self.exact else self.dumps(documents)

    def decode(self, content: bytes) -> Any:
        """Read JSON."""
        return extended_json.loads(content) if extended_json.is_extended(content) else self.loads(content)

    @abstractmethod
    def dumps(self, documents: list[dict[str, Any]]) -> bytes:
        """Return plain JSON."""

    @abstractmethod
    def loads(self, content: bytes) -> Any:
        """Read plain JSON."""


class MinimalORJSONStore(MinimalJSONStore):
    """JSON written by orjson."""

    def dumps(self, documents: list[dict[str, Any]]) -> bytes:
        """Return plain JSON."""
        return orjson.dumps(documents, default=plain_float)

    def loads(self, content: bytes) -> Any:
        """Read plain JSON."""
        return orjson.loads(content)


class MinimalMsgspecJSONStore(MinimalJSONStore):
    """JSON written by msgspec."""

    def dumps(self, documents: list[dict[str, Any]]) -> bytes:
        """Return plain JSON."""
        import msgspec

        return msgspec.json.encode(documents)

    def loads(self, content: bytes) -> Any:
        """Read plain JSON."""
        import msgspec

        return msgspec.json.decode(content)


class MinimalMsgpackStore(MinimalFileStore):
    """MessagePack, with times as ``{"__datetime__": true, "as_str": ...}``."""

    def encode(self, documents: list[dict[str, Any]]) -> bytes:
        """Return a MessagePack array."""
        import msgpack

        return cast("bytes", msgpack.packb(documents, default=_pack_time, use_bin_type=True))

    def decode(self, content: bytes) -> Any:
        """Read MessagePack."""
        import msgpack

        return msgpack.unpackb(content, object_hook=_unpack_time, raw=False)


def read_documents(store: Store) -> list[dict[str, Any]]:
    """Return all documents of a transfer store that is not connected.

    The default format is read without maggma's query interface, which would put them into a database in memory.
    """
    if isinstance(store, StdJSONStore):
        return [document for path in store.paths for document in store.read(Path(path))]
    with store:
        return list(store.query())


def _documents(read: Any, time_field: str) -> list[dict[str, Any]]:
    """Return what a file holds as a list of documents, with their times."""
    documents = read if isinstance(read, list) else [read]
    for document in documents:
        if not isinstance(document, dict):
            raise TypeError(f"it contains a {type(document).__name__} in the place of a document")
        if time := document.get(time_field):
            document[time_field] = time if isinstance(time, datetime) else to_dt(_plain_time(time))
    return documents


def _plain_time(value: Any) -> Any:
    return parse_time(value) if isinstance(value, dict) and "string" in value else value


def _pack_time(value: Any) -> Any:
    if isinstance(value, datetime):
        # The format has no zone; MongoDB stores UTC.
        utc = value.astimezone(UTC) if value.tzinfo else value
        return {"__datetime__": True, "as_str": utc.strftime(_MSGPACK_TIME)}
    return value


def _unpack_time(value: dict[str, Any]) -> Any:
    if "__datetime__" not in value:
        return value
    return datetime.strptime(value["as_str"], _MSGPACK_TIME)  # noqa: DTZ007 - times in a database have no zone


def _write(path: Path, content: bytes) -> None:
    """Write a file atomically; compress it if its suffix asks for that."""
    with replacing(path) as temporary, zopen(temporary, "wb") as file:
        file.write(content)
