"""A project's store as arguments for pymongo."""

from __future__ import annotations

from typing import Any

import pytest

from jfr_mp.database.address import address_of, is_native
from jfr_mp.errors import ConfigError

PLAIN = {"type": "MongoStore", "database": "db", "collection_name": "jobs"}


@pytest.mark.parametrize(
    ("store", "hosts", "database"),
    [
        (PLAIN, "localhost:27017", "db"),
        ({**PLAIN, "host": "h", "port": 1, "username": "u", "password": "s3cret"}, "h:1", "db"),
        ({**PLAIN, "host": "mongodb://u:s3cret@a:1,b:2/other"}, "a:1,b:2", "db"),
        ({"uri": "mongodb://u:s3cret@a:1/named?authSource=admin", "collection_name": "jobs"}, "a:1", "named"),
        (
            {"uri": "mongodb+srv://u:s3cret@x.example.org/named?w=1", "collection_name": "jobs"},
            "x.example.org",
            "named",
        ),
    ],
)
def test_where_it_is_without_secrets(store: dict[str, Any], hosts: str, database: str) -> None:
    address = address_of(store)
    assert (address.hosts, address.database, address.collection) == (hosts, database, "jobs")
    assert "s3cret" not in repr(address)


@pytest.mark.parametrize(
    ("host", "is_local"),
    [
        ("localhost", True),
        ("mongodb://127.0.0.1:27018,localhost", True),
        ("127.0.0.1.example.org", False),
        ("mongodb://localhost:27017,db.example.org:27017", False),
        ("mongodb+srv://localhost", False),
    ],
)
def test_whether_it_is_on_this_machine(host: str, is_local: bool) -> None:
    assert (
        address_of({"type": "MongoStore", "host": host, "database": "d", "collection_name": "j"}).is_local is is_local
    )


def test_credentials_and_options_reach_the_client() -> None:
    store = {**PLAIN, "username": "u", "password": "s3cret", "mongoclient_kwargs": {"tls": True}}
    credentials = {"username": "u", "password": "s3cret", "authSource": "db"}
    assert address_of(store).client_args == {"host": "localhost", "port": 27017, "tls": True, **credentials}
    assert address_of({**store, "auth_source": "admin"}).client_args["authSource"] == "admin"


@pytest.mark.parametrize(
    ("store", "message"),
    [
        ({"type": "MongoStore", "database": "db"}, "collection_name"),
        ({"type": "MongoStore", "collection_name": "jobs"}, "database"),
        ({"type": "MongoURIStore", "uri": "mongodb://u:s3cret@a:1", "collection_name": "jobs"}, "database"),
        ({"type": "MongoURIStore", "uri": "mongodb://u:s3cret@a:port/db", "collection_name": "jobs"}, "not a valid"),
        ({"type": "MongoURIStore", "uri": "http://u:s3cret@a", "collection_name": "jobs"}, "not a valid"),
    ],
)
def test_what_is_missing_or_wrong_is_named(store: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        address_of(store)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("store", "native"),
    [
        (PLAIN, True),
        ({"@class": "MongoURIStore", "@module": "maggma.stores.mongolike"}, True),
        ({**PLAIN, "ssh_tunnel": {"tunnel_server_address": "a"}}, False),
        ({"type": "GridFSStore"}, False),
    ],
)
def test_who_opens_it(store: dict[str, Any], native: bool) -> None:
    assert is_native(store) is native
