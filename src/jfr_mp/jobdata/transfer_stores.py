"""Transfer stores, which carry the output of a job from the worker to the JobStore: one file for each store.

The project's ``remote_jobstore`` selects their format. Their serialized form names jobflow-remote's classes, so that
the worker command of either package can open them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, TypeVar, cast

from jfr_mp.config.stores import without_handlers
from jfr_mp.errors import ConfigError
from jfr_mp.jobdata.files import PEER_MODULE
from jfr_mp.jobdata.untrusted import DOCUMENT_LIMIT, STORE_LIMIT

if TYPE_CHECKING:
    from jobflow import JobStore
    from maggma.core import Store

T = TypeVar("T", str, Path)

_MAIN_FILE = "remote_job_data"
_ADDITIONAL_FILE = "additional_store_{}"

_OUR_MODULE = "jfr_mp.jobdata.file_formats"


@dataclass(frozen=True)
class Format:
    """A built-in format: its class in `jfr_mp.jobdata.file_formats` (named as in jobflow-remote) and its suffix."""

    class_name: str
    extension: str


FORMATS: Mapping[str, Format] = {
    "maggma_json": Format("StdJSONStore", "json"),
    "orjson": Format("MinimalORJSONStore", "json"),
    "msgspec_json": Format("MinimalMsgspecJSONStore", "json"),
    "msgpack": Format("MinimalMsgpackStore", "msgpack"),
}
_DEFAULT_FORMAT = "maggma_json"


def transfer_store(jobstore: JobStore, directory: str | PurePath, config: Mapping[str, Any] | None) -> JobStore:
    """Return a JobStore of files in `directory` with the same additional stores as `jobstore`; it is not connected.

    Parameters
    ----------
    jobstore
        The JobStore to which the output will be copied.
    directory
        The run directory, on any host.
    config
        The project's ``remote_jobstore``: ``{"store": a format or a serialized Store, "zip": bool, "extension": str}``.

    Raises
    ------
    ConfigError
        The format is unknown, or the serialized Store is not valid.
    """
    from jobflow import JobStore

    def store_in(base_name: str) -> Store:
        return _file_store(PurePath(directory, _file_name(base_name, config)), config)

    store = JobStore(
        docs_store=store_in(_MAIN_FILE),
        additional_stores={name: store_in(_ADDITIONAL_FILE.format(name)) for name in additional_stores(jobstore)},
        save=cast("Any", jobstore).save,
        load=cast("Any", jobstore).load,
    )
    return without_handlers(store)


def transfer_store_names(jobstore: JobStore, config: Mapping[str, Any] | None) -> list[str]:
    """Return the names of the files of a `transfer_store`, that of the main store first."""
    base_names = [_MAIN_FILE, *map(_ADDITIONAL_FILE.format, additional_stores(jobstore))]
    return [_file_name(base_name, config) for base_name in base_names]


def store_limits(names: Sequence[T]) -> dict[T, int]:
    """Return the maximum size in bytes of each file of a transfer store; that of the main store comes first."""
    return {name: STORE_LIMIT if position else DOCUMENT_LIMIT for position, name in enumerate(names)}


def load_transfer_store(document: Mapping[str, Any], *, exact: bool = False) -> JobStore:
    """Return a transfer store serialized by either package, whether or not jobflow-remote is installed here.

    Parameters
    ----------
    exact
        Whether values that the format cannot express may be written as extended JSON, which jobflow-remote reads only
        in the default format.
    """
    from monty.json import MontyDecoder

    additional = {name: _as_ours(store) for name, store in document["additional_stores"].items()}
    ours = {**document, "docs_store": _as_ours(document["docs_store"]), "additional_stores": additional}
    store: JobStore = MontyDecoder().process_decoded(ours)
    for part in parts_of(store):
        if hasattr(part, "exact"):
            part.exact = exact
    return store


def additional_stores(jobstore: JobStore) -> dict[str, Store]:
    """Return the additional stores of a JobStore, by name."""
    stores: dict[str, Store] = cast("Any", jobstore).additional_stores
    return stores


def parts_of(jobstore: JobStore) -> list[Store]:
    """Return the stores of a JobStore, the main store first."""
    return [jobstore.docs_store, *additional_stores(jobstore).values()]


def store_paths(store: JobStore) -> list[Path]:
    """Return the files of a transfer store, that of the main store first."""
    parts: list[Any] = list(parts_of(store))
    return [Path(part.paths[0] if getattr(part, "paths", None) else part.path) for part in parts]


def _file_name(base_name: str, config: Mapping[str, Any] | None) -> str:
    """Return the name of the file of one store."""
    config = config or {}
    kind = config.get("store", _DEFAULT_FORMAT)
    extension = FORMATS[kind].extension if isinstance(kind, str) and kind in FORMATS else config.get("extension")
    if not extension:
        raise ConfigError(
            f"remote_jobstore: the file extension of {kind!r} is not known; "
            f"set 'extension', or use one of the formats {', '.join(FORMATS)}"
        )
    return f"{base_name}.{extension}" + (".gz" if config.get("zip") else "")


def _file_store(path: PurePath, config: Mapping[str, Any] | None) -> Store:
    """Return the store for one file."""
    kind = (config or {}).get("store", _DEFAULT_FORMAT)
    if isinstance(kind, Mapping):
        return _serialized_store({**kind, "path": str(path)})
    if kind not in FORMATS:
        raise ConfigError(f"remote_jobstore: unknown format {kind!r}; allowed: {', '.join(FORMATS)}")
    from jfr_mp.jobdata import file_formats

    store: Store = getattr(file_formats, FORMATS[kind].class_name)(str(path))
    return store


def _serialized_store(document: Mapping[str, Any]) -> Store:
    """Return a Store that the project file gives in serialized form."""
    from maggma.core import Store
    from monty.json import MontyDecoder

    try:
        store = MontyDecoder().process_decoded(_as_ours(document))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"remote_jobstore: {document.get('@class')} cannot be opened: {error}") from error
    if not isinstance(store, Store):
        raise ConfigError(
            f"remote_jobstore: {document.get('@module')}.{document.get('@class')} cannot be opened as a maggma Store; "
            "check '@module' and '@class' and that the package is installed"
        )
    return store


def _as_ours(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a serialized store of jobflow-remote with the module of the equivalent class in jfr-mp."""
    known = {transfer_format.class_name for transfer_format in FORMATS.values()}
    if document.get("@module") == PEER_MODULE and document.get("@class") in known:
        return {**document, "@module": _OUR_MODULE}
    return dict(document)
