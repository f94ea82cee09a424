"""Administration of the managed mongod: the operations that the `embedded` package needs from pymongo."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pymongo import MongoClient
from pymongo.errors import ConnectionFailure, OperationFailure

from jfr_mp.errors import DatabaseUnavailable

Client = MongoClient[dict[str, Any]]

#: AlreadyInitialized: the data directory has been a replica set before.
_INITIATED = 23
#: Unauthorized, and "user already exists".
_USER_EXISTS = (13, 51003)

#: Milliseconds that one attempt to connect may take.
_TIMEOUT_MS = 2000
#: Seconds between two attempts.
_PAUSE = 0.01


@contextmanager
def _client(port: int) -> Iterator[Client]:
    """Yield a client for a port on this machine, without credentials."""
    options: dict[str, Any] = {"serverSelectionTimeoutMS": _TIMEOUT_MS, "connectTimeoutMS": _TIMEOUT_MS}
    client: Client = MongoClient("127.0.0.1", port, directConnection=True, appname="jfr-mp", **options)
    try:
        yield client
    finally:
        client.close()


def initiate_replica_set(port: int, name: str) -> None:
    """Make the mongod on a port of this machine a replica set of one member, unless it is one already."""
    members = [{"_id": 0, "host": f"127.0.0.1:{port}"}]
    with _client(port) as client:
        if client.admin.command("hello").get("setName"):
            return
        try:
            client.admin.command("replSetInitiate", {"_id": name, "members": members})
        except OperationFailure as error:
            # After a restart mongod knows its replica set but has not joined it yet, and requires credentials.
            if error.code not in (_INITIATED, *_USER_EXISTS):
                raise


def wait_writable(port: int, timeout: float) -> None:
    """Wait until the mongod on a port of this machine accepts writes.

    Raises
    ------
    DatabaseUnavailable
        It does not accept writes within `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    with _client(port) as client:
        while True:
            try:
                if client.admin.command("hello").get("isWritablePrimary"):
                    return
            except ConnectionFailure as error:
                problem = str(error)
            else:
                problem = "it is not the primary of its replica set yet"
            if time.monotonic() >= deadline:
                raise DatabaseUnavailable(
                    f"mongod on 127.0.0.1:{port} did not accept writes within {timeout:g} s: {problem}"
                )
            time.sleep(_PAUSE)


def create_user(port: int, user: str, password: str, roles: tuple[str, ...] = ("root",)) -> bool:
    """Create the first user of a new mongod, which allows this from the same machine until a user exists.

    Returns
    -------
    bool
        Whether the user was created; False if there was a user already.
    """
    with _client(port) as client:
        try:
            client.admin.command("createUser", user, pwd=password, roles=list(roles), mechanisms=["SCRAM-SHA-256"])
        except OperationFailure as error:
            if error.code not in _USER_EXISTS:
                raise
            return False
    return True
