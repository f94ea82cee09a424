"""A claim that the server has made, but whose answer was lost because the connection broke."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from enum import Enum, auto
from typing import Self

import pytest
from pymongo.errors import WriteConcernError
from pymongo.write_concern import WriteConcern

from jfr_mp import step_table
from jfr_mp.api.submission import submit_flow
from jfr_mp.config import ConfigManager
from jfr_mp.database.claims import claim
from jfr_mp.database.connection import QueueDatabase
from jfr_mp.database.faults import TRANSIENT
from jfr_mp.database.locks import MongoLock
from jfr_mp.identity import new_owner
from tests.support.jobs import add
from tests.support.mongod import Mongod
from tests.support.projects import ProjectFactory


class Mode(Enum):
    """What a relay does with what passes."""

    PASS_ON = auto()
    #: Pass on, until there is the claim of a job: its answer is lost, and then the server is away.
    LOSE_ANSWER_TO_CLAIM = auto()
    AWAY = auto()


class Relay:
    """Stands between a client and a server on this machine."""

    def __init__(self, port: int) -> None:
        self.mode = Mode.PASS_ON
        self._target = port
        self._server = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._server.getsockname()[1]
        self._open: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._spawn(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._break_connections()
        for thread in self._threads:
            thread.join()
        for end in (*self._open, self._server):
            end.close()

    def _spawn(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                self._open.append(client)
                if self.mode is Mode.AWAY:
                    client.shutdown(socket.SHUT_RDWR)
                    continue
                server = socket.create_connection(("127.0.0.1", self._target))
                self._open.append(server)
                lost = threading.Event()
                self._spawn(self._ask, client, server, lost)
                self._spawn(self._answer, server, client, lost)

    def _ask(self, client: socket.socket, server: socket.socket, lost: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                if self.mode is Mode.LOSE_ANSWER_TO_CLAIM and b"findAndModify" in data:
                    lost.set()
                server.sendall(data)

    def _answer(self, server: socket.socket, client: socket.socket, lost: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                if lost.is_set():
                    self.mode = Mode.AWAY
                    self._break_connections()
                    return
                client.sendall(data)

    def _break_connections(self) -> None:
        for end in tuple(self._open):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def relay(mongod_replica: Mongod) -> Iterator[Relay]:
    with Relay(mongod_replica.port) as relay:
        yield relay


def test_a_claim_whose_answer_was_lost_can_be_made_again(fresh_project: ProjectFactory, relay: Relay) -> None:
    # Given a job, and a connection that breaks after the server has made a claim, for longer than the driver repeats it
    project = fresh_project()
    submit_flow(add(1, 1))
    store = {**project.document["queue"]["store"], "port": relay.port}
    project.rewrite(queue={"store": {**store, "mongoclient_kwargs": {"directConnection": True}}})
    db = QueueDatabase.connect(ConfigManager().get_project(project.name), timeout=1.0)
    owner = new_owner()
    relay.mode = Mode.LOSE_ANSWER_TO_CLAIM
    with pytest.raises(TRANSIENT), claim(db, step_table.CHECKOUT, owner):
        pass
    locked = project.db.jobs.find_one({})
    assert locked is not None
    assert owner in locked["lock_id"]

    # When the connection is there again, the living owner claims the job anew
    relay.mode = Mode.PASS_ON
    with claim(db, step_table.CHECKOUT, owner) as claims:
        claimed = len(claims)
    db.close()

    # Then it gets it
    assert claimed == 1


@pytest.mark.parametrize("number", [1, 2])
def test_a_claim_that_the_members_did_not_confirm_can_be_made_again(db_with_jobs: QueueDatabase, number: int) -> None:
    # Given a server that sets a lock, and then says that too few members have it
    db = db_with_jobs
    confirmed, owner = db.jobs, new_owner()
    db.jobs = confirmed.with_options(write_concern=WriteConcern(w=2, wtimeout=100))
    with pytest.raises(WriteConcernError), claim(db, step_table.CHECKOUT, owner, limit=number):
        pass
    assert confirmed.count_documents({"lock_id": {"$regex": owner}}) == number

    # When it confirms writes again, then the living owner claims the job anew
    db.jobs = confirmed
    with claim(db, step_table.CHECKOUT, owner, limit=number) as claims:
        assert len(claims) == number


def test_a_flow_lock_that_the_members_did_not_confirm_is_freed(db_with_jobs: QueueDatabase) -> None:
    flows = db_with_jobs.flows
    unconfirmed = flows.with_options(write_concern=WriteConcern(w=2, wtimeout=100))
    with pytest.raises(WriteConcernError), MongoLock(unconfirmed, {}, lock_id="mine"):
        pass
    assert (flows.find_one({}) or {})["lock_id"] is None


@pytest.fixture
def db_with_jobs(fresh_project: ProjectFactory) -> Iterator[QueueDatabase]:
    """A queue database with two jobs."""
    project = fresh_project()
    submit_flow([add(1, 1), add(2, 2)])
    db = QueueDatabase.connect(ConfigManager().get_project(project.name))
    yield db
    db.close()
