"""The descriptions of maggma stores in a project file: validating them, and building the stores.

A description is a dictionary. Either it names the class of the store as its ``type``, together with the arguments of
that class, or it is the result of the ``as_dict`` method of a store (``@module`` and ``@class``). Validating it does
not import maggma or connect to a database.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from jfr_mp.config.validation import inside, invalid, listed, suggestion
from jfr_mp.deferral import FOR_RUNNER, deferred
from jfr_mp.errors import ConfigError

if TYPE_CHECKING:
    from jobflow import JobStore
    from maggma.core.store import Store

#: The maggma stores that are subclasses of MongoStore and can therefore contain the queue.
_QUEUE_STORES = (
    "MongoStore",
    "MongoURIStore",
    "MongograntStore",
    "VaultStore",
    "MemoryStore",
    "JSONStore",
    "MontyStore",
)
_OTHER_STORES = (
    "AliasingStore",
    "AzureBlobStore",
    "ConcatStore",
    "FileStore",
    "GridFSStore",
    "GridFSURIStore",
    "JointStore",
    "S3Store",
    "SandboxStore",
)
_MONGO_FIELDS = (
    "database",
    "collection_name",
    "host",
    "port",
    "username",
    "password",
    "uri",
    "auth_source",
    "mongoclient_kwargs",
    "ssh_tunnel",
    "safe_update",
    "default_sort",
    "key",
    "last_updated_field",
    "last_updated_type",
    "validator",
)
_MONGO_TYPES: dict[str, type] = {
    "database": str,
    "collection_name": str,
    "host": str,
    "port": int,
    "username": str,
    "password": str,
    "uri": str,
    "auth_source": str,
    "mongoclient_kwargs": dict,
}
_CLIENT = "mongoclient_kwargs"
_TYPE_NAMES = {str: "a string (quote it)", int: "an integer", dict: "a dictionary"}


def check_queue_store(spec: Mapping[str, Any]) -> None:
    """Raise a `ValidationError` unless `spec` describes a store that can contain the queue.

    An empty description is valid, as in jobflow-remote, so that a project without a database can still be listed.
    """
    if not spec:
        return
    kind = _kind(spec)
    if "type" in spec and "@class" not in spec and kind not in _QUEUE_STORES:
        hint = "" if kind in _OTHER_STORES else suggestion(kind, _QUEUE_STORES)
        raise invalid({"type": f"this store cannot contain the queue{hint}; allowed: {listed(_QUEUE_STORES)}"})
    _check_mongo(spec, kind)


def check_jobstore(spec: Mapping[str, Any]) -> None:
    """Raise a `ValidationError` unless `spec` describes a jobflow JobStore: ``docs_store``, ``additional_stores``."""
    if "docs_store" not in spec:
        raise invalid({"docs_store": "missing, but needed: the store of the outputs" + suggestion("docs_store", spec)})
    _check_store("docs_store", spec["docs_store"])
    additional = spec.get("additional_stores", {})
    if not isinstance(additional, Mapping):
        raise invalid({"additional_stores": "must be a dictionary of stores by name"})
    for name, store in additional.items():
        _check_store(f"additional_stores.{name}", store)


def build_store(spec: Mapping[str, Any]) -> Store:
    """Return the maggma store that `spec` describes; it is not connected.

    Raises
    ------
    ConfigError
        maggma rejects the description.
    """
    with deferred(FOR_RUNNER):
        import maggma.stores  # noqa: F401  (its classes are found as subclasses of Store)
        from maggma.core.store import Store
        from monty.json import MontyDecoder

    def build(spec: Mapping[str, Any]) -> Any:
        if "@class" in spec:
            return MontyDecoder().process_decoded(dict(spec))
        arguments = {
            key: build(value) if isinstance(value, Mapping) and {"type", "@class"} & set(value) else value
            for key, value in spec.items()
            if key != "type"
        }
        return classes[spec["type"]](**arguments)

    try:
        classes = {cls.__name__: cls for cls in _subclasses(Store)}
        store = build(_with_one_auth_source(spec))
    except Exception as error:  # noqa: BLE001 - whatever the class of a store raises, the description is wrong.
        raise _refused(error) from None
    if not isinstance(store, Store):
        raise ConfigError(f"the class {_kind(spec)} is not a maggma store; check '@module' and '@class'")
    return store


def build_jobstore(spec: Mapping[str, Any]) -> JobStore:
    """Return the JobStore that `spec` describes; it is not connected.

    Raises
    ------
    ConfigError
        jobflow or maggma rejects the description.
    """
    with deferred(FOR_RUNNER):
        from jobflow import JobStore

    try:
        make = JobStore.from_dict if spec.get("@class") == "JobStore" else JobStore.from_dict_spec
        jobstore = make(_with_one_auth_source(spec))
    except Exception as error:  # noqa: BLE001 - as above
        raise _refused(error) from None
    if not isinstance(jobstore, JobStore):
        raise ConfigError("'@module' and '@class' are not those of a JobStore")
    return without_handlers(jobstore)


def without_handlers(jobstore: JobStore) -> JobStore:
    """Remove what a new JobStore added to loggers, and return the JobStore.

    maggma adds a `NullHandler` to the logger of the class for each store that is created, and never removes it: a
    process that creates stores for each job would grow. One is kept for each class, so that its messages are not
    printed.
    """
    stores: Any = (jobstore, jobstore.docs_store, *cast("Any", jobstore).additional_stores.values())
    for log in {store.logger for store in stores}:
        for handler in [each for each in log.handlers if type(each) is logging.NullHandler][1:]:
            log.removeHandler(handler)
    return jobstore


def _with_one_auth_source(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return a description without `authSource` in `mongoclient_kwargs`; maggma passes `auth_source` in its place.

    With both, pymongo refuses to connect.
    """
    stores = {
        key: _with_one_auth_source(value) if isinstance(value, Mapping) and key != _CLIENT else value
        for key, value in spec.items()
    }
    client = spec.get(_CLIENT)
    if "username" not in spec or not isinstance(client, Mapping) or "authSource" not in client:
        return stores
    rest = {key: value for key, value in client.items() if key != "authSource"}
    return {**stores, "auth_source": spec.get("auth_source") or client["authSource"], _CLIENT: rest}


def _check_store(field: str, spec: object) -> None:
    if not isinstance(spec, Mapping):
        raise invalid({field: "must be a dictionary that describes a store"})
    known = (*_QUEUE_STORES, *_OTHER_STORES)
    with inside(field):
        kind = _kind(spec)
        # Other packages may define stores, so only a name that looks like a typing error is refused.
        if "type" in spec and kind not in known and (hint := suggestion(kind, known)):
            raise invalid({"type": f"unknown store{hint}"})
        _check_mongo(spec, kind)


def _kind(spec: Mapping[str, Any]) -> str:
    """Return the name of the class of a store."""
    if "@class" in spec:
        if "@module" not in spec:
            raise invalid({"@module": "missing, but needed beside '@class'"})
        return str(spec["@class"])
    if "type" not in spec:
        raise invalid({"type": "missing, but needed: the class of the store, such as MongoStore"})
    return str(spec["type"])


def _check_mongo(spec: Mapping[str, Any], kind: str) -> None:
    """Check the arguments of the two most common stores; the arguments of others are not known here."""
    if kind not in ("MongoStore", "MongoURIStore"):
        return
    problems: dict[str, str] = {}
    for key, value in spec.items():
        if key == "type" or str(key).startswith("@"):
            continue
        if key not in _MONGO_FIELDS:
            problems[str(key)] = f"unknown field{suggestion(str(key), _MONGO_FIELDS)}; allowed: {listed(_MONGO_FIELDS)}"
        elif key in _MONGO_TYPES and value is not None and not isinstance(value, _MONGO_TYPES[key]):
            problems[key] = f"must be {_TYPE_NAMES[_MONGO_TYPES[key]]}"
    if not problems:
        problems = _missing_in_mongo(spec, kind)
    if problems:
        raise invalid(problems)


def _missing_in_mongo(spec: Mapping[str, Any], kind: str) -> dict[str, str]:
    missing = {}
    if not spec.get("collection_name"):
        missing["collection_name"] = "missing, but needed: the collection in the database"
    uri = spec.get("uri")
    if uri is None and kind == "MongoURIStore":
        missing["uri"] = "missing, but needed: mongodb://... or mongodb+srv://..."
    elif uri is not None and not re.match(r"mongodb(\+srv)?://.", uri):
        missing["uri"] = "must begin with mongodb:// or mongodb+srv://"
    elif not spec.get("database") and not (uri and re.match(r"[^:]+://[^/?]+/[^?]", uri)):
        place = "missing, but needed: the name of the database"
        missing["database"] = f"{place}, here or after the host in the uri" if uri else place
    return missing


def _subclasses(cls: type) -> set[type]:
    children: list[type] = cls.__subclasses__()
    return {cls}.union(*map(_subclasses, children))


def _refused(error: Exception) -> ConfigError:
    # These errors only name the wrong argument or class. Other errors may quote a value, such as a URI with a password.
    safe = isinstance(error, TypeError | KeyError | ImportError)
    return ConfigError(f"maggma rejected the store: {type(error).__name__}" + (f": {error}" if safe else ""))
