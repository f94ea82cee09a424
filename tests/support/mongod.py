"""Real mongods for the tests: one small server on a free loopback port, with a user of its own."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from pymongo import MongoClient
from pymongo.errors import PyMongoError

from jfr_mp.embedded.binary import find_mongod
from tests.support.network import Network
from tests.support.processes import free_port
from tests.support.waiting import wait_until

USER = "tester"
_LOOPBACK = "127.0.0.1"
_SMALL = (
    "--oplogSize=512",
    "--wiredTigerCacheSizeGB=0.25",
    "--setParameter=diagnosticDataCollectionEnabled=false",
    "--wiredTigerEngineConfigString=log=(file_max=2MB,prealloc=false)",
)


class Mongod:
    """A mongod that can be stopped, killed and started again on the same port with the same data.

    Parameters
    ----------
    directory
        Where data and log are kept.
    replica_set
        The name of the replica set, whose single member this is; None for a standalone server without transactions.
    host
        The address on which it listens.
    prefix
        A command that runs the server, for instance in a network namespace.
    """

    def __init__(
        self, directory: Path, *, replica_set: str | None, host: str = _LOOPBACK, prefix: Sequence[str] = ()
    ) -> None:
        self.directory = directory
        self.replica_set = replica_set
        self.host = host
        self.port = free_port()
        self._prefix = tuple(prefix)
        self.username = USER
        self.password = secrets.token_hex(12)
        self._process: subprocess.Popen[bytes] | None = None
        self._client: MongoClient[dict[str, Any]] | None = None
        (directory / "data").mkdir(parents=True)
        key_file = directory / "keyfile"
        key_file.touch(mode=0o600)
        key_file.write_text(secrets.token_hex(60))

    @property
    def uri(self) -> str:
        """The URI with credentials."""
        replica_set = f"&replicaSet={self.replica_set}" if self.replica_set else ""
        return f"mongodb://{self.username}:{self.password}@{self.host}:{self.port}/?authSource=admin{replica_set}"

    @property
    def client(self) -> MongoClient[dict[str, Any]]:
        """A client with all rights; the fixture closes it."""
        if self._client is None:
            self._client = MongoClient(self.uri, tz_aware=False)
        return self._client

    @property
    def running(self) -> bool:
        """Whether the server is up, as far as this object was told."""
        return self._process is not None

    @property
    def pid(self) -> int:
        """The pid of the running server."""
        assert self._process is not None, "this mongod is stopped"
        return self._process.pid

    def store(self, database: str, collection: str) -> dict[str, Any]:
        """Return the maggma MongoStore of a collection, as a project file has it."""
        return {
            "type": "MongoStore",
            "host": self.host,
            "port": self.port,
            "username": self.username,
            "password": self.password,
            "auth_source": "admin",
            "database": database,
            "collection_name": collection,
        }

    def start(self) -> None:
        """Start the server and return when it takes writes."""
        self.launch()
        self._prepare()

    def launch(self) -> None:
        """Start the server and return at once."""
        assert self._process is None, "this mongod runs already"
        secured = ("--keyFile", str(self.directory / "keyfile"))
        role = ("--replSet", self.replica_set, *secured) if self.replica_set else ("--auth",)
        with (self.directory / "mongod.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(*self._prefix, str(find_mongod()), "--dbpath", str(self.directory / "data"), "--nounixsocket"),
                    *("--bind_ip", self.host, "--port", str(self.port), *role, *_SMALL),
                ],
                # Not those of the test that happens to be the first one: at its end it ends what has them.
                env={name: value for name, value in os.environ.items() if not name.startswith("JFREMOTE_")},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for pytest, whose fixtures still need the server to clean up
            )

    def stop(self) -> None:
        """Shut down cleanly."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=30)
            self._process = None

    def kill(self) -> None:
        """Die as in a crash."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=30)
            self._process = None

    def close(self) -> None:
        """Stop for good."""
        if self._client is not None:
            self._client.close()
        self.stop()

    def _prepare(self) -> None:
        """Wait for the server; the first time, make the replica set and the user.

        The right to do so comes from the localhost exception or, from elsewhere, from the key of the replica set.
        """
        marker = self.directory / "prepared"
        rights: dict[str, Any] = {}
        if self.host != _LOOPBACK:
            key = (self.directory / "keyfile").read_text()
            rights = {"username": "__system", "password": key, "authSource": "local"}
        with MongoClient[dict[str, Any]](self.host, self.port, directConnection=True, **rights) as client:
            wait_until(lambda: self._hello(client), 30, "an answer of mongod")
            if self.replica_set and not marker.exists():
                member = {"_id": 0, "host": f"{self.host}:{self.port}"}
                client.admin.command("replSetInitiate", {"_id": self.replica_set, "members": [member]})
            wait_until(lambda: self._hello(client).get("isWritablePrimary"), 30, "a mongod that takes writes")
            if not marker.exists():
                client.admin.command("createUser", self.username, pwd=self.password, roles=["root"])
                marker.touch()

    def _hello(self, client: MongoClient[dict[str, Any]]) -> dict[str, Any]:
        """Return what the server says of itself, or nothing while it does not answer."""
        if self._process is not None and self._process.poll() is not None:
            log = (self.directory / "mongod.log").read_text(errors="replace")
            raise RuntimeError(f"mongod ended with exit code {self._process.returncode}:\n{log[-2000:]}")
        try:
            return client.admin.command("hello")
        except PyMongoError:
            return {}


class ReplicaSet:
    """Three mongods, one of which takes writes; another one takes over if that one dies or steps down.

    Parameters
    ----------
    directory
        Where data and logs are kept.
    name
        The name of the replica set.
    network
        A network of three machines, for one member each; None for members that all are on this machine.
    """

    def __init__(self, directory: Path, name: str, network: Network | None = None) -> None:
        self._network = network
        self.members = [
            Mongod(
                directory / str(number),
                replica_set=name,
                host=network.address(number) if network else _LOOPBACK,
                prefix=network.enter(number) if network else (),
            )
            for number in range(3)
        ]
        first, *others = self.members
        for other in others:
            other.password = first.password
            (other.directory / "keyfile").write_text((first.directory / "keyfile").read_text())
        hosts = ",".join(f"{member.host}:{member.port}" for member in self.members)
        self.uri = f"mongodb://{first.username}:{first.password}@{hosts}/?authSource=admin&replicaSet={name}"
        self._client: MongoClient[dict[str, Any]] | None = None

    @property
    def client(self) -> MongoClient[dict[str, Any]]:
        """A client with all rights."""
        if self._client is None:
            self._client = MongoClient(self.uri, tz_aware=False)
        return self._client

    def start(self) -> None:
        """Start all members, and add them to the set one after another."""
        first, *others = self.members
        first.start()
        for number, other in enumerate(others, 1):
            other.launch()
            config = first.client.admin.command("replSetGetConfig")["config"]
            config["version"] += 1
            config["settings"]["electionTimeoutMillis"] = 2000
            config["members"].append({"_id": number, "host": f"{other.host}:{other.port}"})
            first.client.admin.command("replSetReconfig", config)
            wait_until(partial(self._is_secondary, number), 60, "a secondary")

    def _is_secondary(self, number: int) -> bool:
        members = self.members[0].client.admin.command("replSetGetStatus")["members"]
        return any(member["_id"] == number and member["stateStr"] == "SECONDARY" for member in members)

    def store(self, database: str, collection: str) -> dict[str, Any]:
        """Return the maggma store of a collection, as a project file has it."""
        return {"type": "MongoURIStore", "uri": self.uri, "database": database, "collection_name": collection}

    def primary(self) -> Mongod:
        """Return the member that takes writes."""
        address = wait_until(lambda: self.client.primary, 60, "a primary")
        return next(member for member in self.members if (member.host, member.port) == address)

    def step_down(self) -> None:
        """Let another member take over."""
        with suppress(PyMongoError):
            self.client.admin.command("replSetStepDown", 10, force=True)

    def kill(self) -> None:
        """Let the member that takes writes die as in a crash, and start it again."""
        primary = self.primary()
        primary.kill()
        primary.launch()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Let the member that takes writes stand still: it keeps its connections, and answers nothing."""
        primary = self.primary()
        os.kill(primary.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(primary.pid, signal.SIGCONT)

    @contextmanager
    def partition(self) -> Iterator[None]:
        """Cut the member that takes writes off from the others, but not from its clients."""
        assert self._network, "all members are on one machine"
        number = self.members.index(self.primary())
        self._network.cut_off(number)
        try:
            yield
        finally:
            self._network.join(number)

    def close(self) -> None:
        """Stop all of them for good."""
        if self._client is not None:
            self._client.close()
        for member in self.members:
            member.close()
