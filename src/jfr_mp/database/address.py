"""The address of a queue store: the project's maggma dictionary as arguments for pymongo, without importing maggma."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pymongo.errors import PyMongoError
from pymongo.uri_parser import parse_uri

from jfr_mp.errors import ConfigError

#: The maggma stores that are opened directly; any other store is opened by maggma.
NATIVE_STORES = ("MongoStore", "MongoURIStore")

DEFAULT_PORT = 27017


@dataclass(frozen=True)
class Address:
    """A database and its jobs collection.

    Parameters
    ----------
    hosts
        "host:port" of each server, joined by commas; safe to show, because it never contains credentials.
    client_args
        Keyword arguments of `pymongo.MongoClient`. They contain the password and are left out of the repr.
    database, collection
        The names of the database and of the jobs collection.
    """

    hosts: str
    database: str
    collection: str
    client_args: Mapping[str, Any] = field(repr=False)

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine for certain."""
        return all(host.rpartition(":")[0] in ("localhost", "127.0.0.1", "[::1]") for host in self.hosts.split(","))

    @property
    def monitoring(self) -> Mapping[str, Any]:
        """The options of a client that say how it finds out whether its servers are there.

        No connection on one machine is lost silently, and no round trip has to be measured there.
        """
        return {"heartbeatFrequencyMS": 300_000, "serverMonitoringMode": "poll"} if self.is_local else {}


def store_class(store: Mapping[str, Any]) -> str:
    """Return the name of the maggma class that a store dictionary describes."""
    return str(store.get("type") or store.get("@class") or "")


def is_native(store: Mapping[str, Any]) -> bool:
    """Return whether `address_of` supports a store; SSH tunnels are opened by maggma."""
    return store_class(store) in NATIVE_STORES and not store.get("ssh_tunnel")


def address_of(store: Mapping[str, Any]) -> Address:
    """Return the address that a native store dictionary describes.

    Raises
    ------
    ConfigError
        A key is missing, or the URI is malformed.
    """
    uri = store.get("uri") or (store.get("host") if "://" in str(store.get("host")) else None)
    options = dict(store.get("mongoclient_kwargs") or {})
    collection = _required(store, "collection_name")
    if uri:
        return _from_uri(str(uri), store.get("database"), collection, options)
    database = _required(store, "database")
    host, port = str(store.get("host") or "localhost"), int(store.get("port") or DEFAULT_PORT)
    args: dict[str, Any] = {"host": host, "port": port, **options}
    if store.get("username"):
        args["username"] = store["username"]
        args["password"] = store.get("password") or ""
        args["authSource"] = store.get("auth_source") or database
    return Address(hosts=f"{host}:{port}", database=database, collection=collection, client_args=args)


def _from_uri(uri: str, database: str | None, collection: str, options: dict[str, Any]) -> Address:
    hosts, named = _parse(uri)
    if not (database or named):
        raise ConfigError("queue.store: no database is given; name it in `database` or at the end of `uri`")
    return Address(hosts, str(database or named), collection, {"host": uri, **options})


def _parse(uri: str) -> tuple[str, str | None]:
    scheme, _, rest = uri.partition("://")
    if scheme == "mongodb+srv":
        # Listing its servers would take a DNS query, which is too much for a message.
        location, _, path = rest.rpartition("@")[2].partition("/")
        return location, path.partition("?")[0] or None
    try:
        parsed = parse_uri(uri, warn=False)
    except (PyMongoError, ValueError):
        # The reason may quote the URI, and with it the password.
        raise ConfigError("queue.store.uri: not a valid MongoDB URI (mongodb://user:password@host:port/db)") from None
    return ",".join(f"{host}:{port}" if port else host for host, port in parsed["nodelist"]), parsed["database"]


def _required(store: Mapping[str, Any], key: str) -> str:
    value = store.get(key)
    if not value:
        raise ConfigError(f"queue.store.{key}: missing; a {store_class(store) or 'MongoStore'} needs it")
    return str(value)
