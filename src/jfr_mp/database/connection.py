"""The connection to the queue database of a project."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any, Self, TypeVar

from bson.codec_options import DatetimeConversion
from pymongo import MongoClient
from pymongo.errors import OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from jfr_mp.database.address import Address, address_of, is_native
from jfr_mp.database.faults import is_large_transaction, translate
from jfr_mp.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from maggma.core import Store
    from pymongo.client_session import ClientSession
    from pymongo.collection import Collection
    from pymongo.database import Database

    from jfr_mp.config import Project

Doc = dict[str, Any]
logger = logging.getLogger(__name__)

#: The maximum number of documents to write in one transaction, which the server keeps in its cache.
MOST_AT_ONCE = 1000
#: Seconds after which a transaction that conflicts again and again is taken for one that does not fit into the cache.
_CONFLICTS_FOR = 5.0

T = TypeVar("T")

#: Seconds that a command in a terminal waits for a database that does not answer.
PERSON_TIMEOUT = 5.0

#: Seconds for which the time of the server is computed before it is asked again.
_CLOCK_FOR = 180.0

PROCESSES_COLLECTION = "jfr_mp_processes"
LEASES_COLLECTION = "jfr_mp_leases"
BUS_KEYS_COLLECTION = "jfr_mp_bus_keys"
ORDERS_COLLECTION = "jfr_mp_orders"
LOST_MASTERS_COLLECTION = "jfr_mp_lost_masters"
PAUSED_WORKERS_COLLECTION = "jfr_mp_paused_workers"
NOTIFICATIONS_COLLECTION = "jfr_mp_notifications"


def prepare_clients() -> None:
    """Import what pymongo imports when a client connects and logs in; a process may then fork."""
    for name in ("pymongo.saslprep", "pymongo.synchronous.auth"):
        with suppress(ImportError):
            import_module(name)
    MongoClient[Doc](connect=False).close()


class _DoesNotFit(Exception):
    """A transaction does not fit into the cache of the server."""


class QueueDatabase:
    """The collections of one project.

    Parameters
    ----------
    client
        A connected client; `close` closes it.
    database, jobs_collection
        The names of the database and of the jobs collection; the project names the other collections.
    project
        The project that the database belongs to.
    address
        "host:port" for messages, without credentials.
    """

    def __init__(
        self, client: MongoClient[Doc], database: str, jobs_collection: str, project: Project, address: str
    ) -> None:
        self.client = client
        self.project = project
        self.address = address
        # A time that Python has no type for, or a text that is not one, must not keep the document from being read.
        lenient = client.codec_options.with_options(
            datetime_conversion=DatetimeConversion.DATETIME_AUTO, unicode_decode_error_handler="replace"
        )
        self.db: Database[Doc] = client.get_database(database, codec_options=lenient)
        self.jobs: Collection[Doc] = self.db[jobs_collection]
        self.flows: Collection[Doc] = self.db[project.queue.flows_collection]
        self.auxiliary: Collection[Doc] = self.db[project.queue.auxiliary_collection]
        self.batches: Collection[Doc] = self.db[project.queue.batches_collection]
        self.processes: Collection[Doc] = self.db[PROCESSES_COLLECTION]
        self.leases: Collection[Doc] = self.db[LEASES_COLLECTION]
        self.bus_keys: Collection[Doc] = self.db[BUS_KEYS_COLLECTION]
        self.orders: Collection[Doc] = self.db[ORDERS_COLLECTION]
        self.lost_masters: Collection[Doc] = self.db[LOST_MASTERS_COLLECTION]
        self.paused_workers: Collection[Doc] = self.db[PAUSED_WORKERS_COLLECTION]
        self.notifications: Collection[Doc] = self.db[NOTIFICATIONS_COLLECTION]
        #: The ids of locks that the server may have set: see `jfr_mp.database.doubtful_locks`.
        self.doubtful_locks: set[str] = set()
        #: A cache of the uuid of the flow of each job, by the uuid of the job.
        self.known_flows: dict[tuple[str, ...], str] = {}
        #: The ids of the sessions that are registered for this process.
        self.announced_sessions: set[bytes] = set()
        #: When the server was last asked for its time, in monotonic seconds, and what it said.
        self._clock = (float("-inf"), datetime.min.replace(tzinfo=UTC))

    @classmethod
    def connect(cls, project: Project, *, timeout: float = 8.0) -> Self:
        """Open the queue database of a project and read from it once, so that wrong credentials are found here.

        Parameters
        ----------
        project
            The project; its `queue.store` gives the address of the database.
        timeout
            Seconds after which a server that does not answer counts as unavailable, now and in every later operation.

        Raises
        ------
        ConfigError
            `queue.store` is incomplete.
        DatabaseUnavailable, DatabaseRefused
            The database cannot be used. The messages contain host and port, never the password.
        """
        store = project.queue.store
        opened = cls._native(project, address_of(store), timeout) if is_native(store) else cls._through_maggma(project)
        try:
            opened.auxiliary.find_one({}, {"_id": 1})
        except PyMongoError as error:
            opened.close()
            raise translate(error, opened.address) or error from error
        return opened

    @classmethod
    def _native(cls, project: Project, address: Address, timeout: float) -> Self:
        milliseconds = int(timeout * 1000)
        options = {
            "appname": "jfr-mp",
            "serverSelectionTimeoutMS": milliseconds,
            "connectTimeoutMS": milliseconds,
            # Operations such as building an index or inserting a large flow take longer than finding the server.
            "socketTimeoutMS": 6 * milliseconds,
            **address.monitoring,
            **address.client_args,
        }
        try:
            client: MongoClient[Doc] = MongoClient(**options)
        except PyMongoError as error:
            raise translate(error, address.hosts) or error from error
        return cls(client, address.database, address.collection, project, address.hosts)

    @classmethod
    def _through_maggma(cls, project: Project) -> Self:
        """Let maggma connect, through an SSH tunnel or by a third-party store class."""
        return cls.of_store(project.get_queue_store(), project)

    @classmethod
    def of_store(cls, store: Store, project: Project) -> Self:
        """Return the database of a maggma store, which is connected if it is not."""
        store.connect()
        jobs: Any = store._collection  # noqa: SLF001 - maggma offers no other way
        client: MongoClient[Doc] = jobs.database.client
        host, port = client.address or ("unknown", 0)
        return cls(client, jobs.database.name, jobs.name, project, f"{host}:{port}")

    def close(self) -> None:
        """Close all sockets; later operations raise."""
        self.client.close()

    @cached_property
    def supports_transactions(self) -> bool:
        """Whether the server is part of a replica set or a sharded cluster."""
        hello = self.client.admin.command("hello")
        return "setName" in hello or hello.get("msg") == "isdbgrid"

    def transaction(
        self, body: Callable[[ClientSession | None], T], *, writes: int = 0, must_be_one: bool = False
    ) -> T:
        """Run `body(session)` as one transaction, or `body(None)`.

        A transaction that conflicts with another one is repeated, so `body` must not keep state between calls. In a
        transaction, an exception raised by `body` rolls all its writes back.

        `body(None)` is run if the server does not support transactions, and instead of a transaction whose writes do
        not fit into the cache of the server. The server reports that as an error of its own, or as a conflict that does
        not end.

        Parameters
        ----------
        body
            What to do. With None, it takes locks, and repeating it after a crash must be safe.
        writes
            How many documents it may write; more than `MOST_AT_ONCE` are not tried in a transaction.
        must_be_one
            Whether a transaction must not be replaced.
        """
        if not self.supports_transactions or writes > MOST_AT_ONCE:
            return body(None)
        replaced_at = float("inf") if must_be_one else time.monotonic() + _CONFLICTS_FOR
        tried = False

        def attempt(session: ClientSession) -> T:
            nonlocal tried
            if tried and time.monotonic() > replaced_at:
                raise _DoesNotFit
            tried = True
            return body(session)

        with self.client.start_session() as session:
            try:
                return session.with_transaction(
                    attempt, read_concern=ReadConcern("snapshot"), write_concern=WriteConcern("majority")
                )
            except _DoesNotFit:
                pass
            except OperationFailure as error:
                if error.has_error_label("TransientTransactionError"):
                    raise DatabaseUnavailable(
                        f"the database at {self.address} is too busy: a transaction kept conflicting with others "
                        f"({error})"
                    ) from error
                if must_be_one or not is_large_transaction(error):
                    raise
        logger.info("a transaction does not fit into the cache of the database, and is done in single writes instead")
        return body(None)

    def now(self) -> datetime:
        """Return the time of the server, which is asked every three minutes: the clock of this machine may jump.

        It is truncated to milliseconds, the precision of MongoDB.
        """
        asked, then = self._clock
        if time.monotonic() - asked >= _CLOCK_FOR:
            then = self.server_time()
            asked = time.monotonic()
            self._clock = (asked, then)
        passed = then + timedelta(seconds=time.monotonic() - asked)
        return passed.replace(microsecond=passed.microsecond // 1000 * 1000)

    def server_time(self) -> datetime:
        """Return the current time of the server, in UTC."""
        local_time: datetime = self.client.admin.command("hello")["localTime"]
        return local_time.replace(tzinfo=UTC)
