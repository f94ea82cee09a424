"""Connecting: to what the project file says, within a time, and never a word about the password."""

from __future__ import annotations

import time
from typing import Any

import pytest
from pymongo.client_session import ClientSession

from jfr_mp.config import ConfigManager
from jfr_mp.database import connection, mongod_admin
from jfr_mp.database.connection import MOST_AT_ONCE, QueueDatabase
from jfr_mp.database.faults import TRANSIENT
from jfr_mp.errors import DatabaseRefused, DatabaseUnavailable
from tests.support.mongod import Mongod
from tests.support.processes import free_port
from tests.support.projects import ProjectFactory


def _project(fresh_project: ProjectFactory, **store: Any) -> Any:
    """Return a project whose queue store has other fields; None removes one."""
    written = fresh_project()
    changed = {**written.document["queue"]["store"], **store}
    written.document["queue"]["store"] = {key: value for key, value in changed.items() if value is not None}
    written.rewrite()
    return ConfigManager().get_project(written.name)


@pytest.mark.filterwarnings("ignore:MongoURIStore:FutureWarning")
@pytest.mark.parametrize("native", [True, False], ids=["native", "maggma"])
@pytest.mark.parametrize("form", ["type", "@class", "uri"])
def test_every_form_of_a_mongo_store_leads_to_the_same_collections(
    fresh_project: ProjectFactory, mongod_replica: Mongod, monkeypatch: pytest.MonkeyPatch, form: str, native: bool
) -> None:
    # Given a store in one of the forms that maggma reads
    forms: dict[str, dict[str, Any]] = {
        "type": {},
        "@class": {"type": None, "@module": "maggma.stores.mongolike", "@class": "MongoStore"},
        "uri": {
            **dict.fromkeys(("host", "port", "username", "password", "auth_source")),
            "type": "MongoURIStore",
            "uri": mongod_replica.uri,
        },
    }
    project = _project(fresh_project, **forms[form])
    if not native:
        monkeypatch.setattr("jfr_mp.database.connection.is_native", lambda _: False)

    # When it is opened
    db = QueueDatabase.connect(project)
    try:
        # Then its collections are there, and its address is fit for any message
        assert (db.jobs.name, db.flows.name, db.auxiliary.name) == ("jobs", "flows", "jf_auxiliary")
        assert (db.batches.name, db.processes.name) == ("batches", "jfr_mp_processes")
        assert db.jobs.database.name == project.queue.store["database"]
        assert db.address == f"127.0.0.1:{mongod_replica.port}"
        assert db.supports_transactions
    finally:
        db.close()


def test_a_server_of_its_own_has_no_transactions(fresh_project: ProjectFactory, mongod_standalone: Mongod) -> None:
    written = fresh_project(server=mongod_standalone)
    db = QueueDatabase.connect(ConfigManager().get_project(written.name))
    try:
        assert not db.supports_transactions
        assert db.transaction(lambda session: session) is None
    finally:
        db.close()


@pytest.mark.timing
def test_a_database_that_is_away_is_named_in_time(fresh_project: ProjectFactory) -> None:
    port = free_port()
    began = time.monotonic()
    with pytest.raises(DatabaseUnavailable, match=f"127.0.0.1:{port} does not answer") as caught:
        QueueDatabase.connect(_project(fresh_project, port=port, password="s3cret"), timeout=0.5)
    assert time.monotonic() - began < 5
    assert "s3cret" not in str(caught.value)
    assert isinstance(caught.value, TRANSIENT)


@pytest.mark.parametrize("credentials", [{"password": "s3cret"}, {"username": None, "password": None}])
def test_wrong_or_no_credentials_are_named_without_the_password(
    fresh_project: ProjectFactory, mongod_replica: Mongod, credentials: dict[str, Any]
) -> None:
    with pytest.raises(DatabaseRefused, match=f"127.0.0.1:{mongod_replica.port} refused the connection") as caught:
        QueueDatabase.connect(_project(fresh_project, **credentials))
    assert "s3cret" not in str(caught.value)
    assert not isinstance(caught.value, TRANSIENT)


def test_a_transaction_is_undone_by_an_exception_and_its_own_only(queue: Any) -> None:
    def body(session: Any) -> None:
        queue.db.jobs.insert_one({"db_id": "1"}, session=session)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        queue.db.transaction(body)
    assert queue.db.jobs.count_documents({}) == 0


def test_the_administration_of_a_mongod_can_be_repeated(own_mongod: Mongod) -> None:
    # Given a mongod that is a replica set with a user already, when all is done again, then nothing happens
    mongod_admin.initiate_replica_set(own_mongod.port, "rs_own")
    mongod_admin.wait_writable(own_mongod.port, 10)
    assert mongod_admin.create_user(own_mongod.port, "other", "secret") is False

    # And when it is stopped, it is unavailable
    own_mongod.stop()
    with pytest.raises(DatabaseUnavailable, match="did not accept writes"):
        mongod_admin.wait_writable(own_mongod.port, 0.2)


def test_a_transaction_that_conflicts_for_too_long_is_replaced_by_single_writes(
    queue: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a transaction that has written a document and does not end
    monkeypatch.setattr(connection, "_CONFLICTS_FOR", 0.2)
    db = queue.db
    db.auxiliary.insert_one({"_id": "contested", "writers": 0})
    one_more = ({"_id": "contested"}, {"$inc": {"writers": 1}})
    with db.client.start_session() as other:
        other.start_transaction()
        db.auxiliary.update_one(*one_more, session=other)

        def body(session: ClientSession | None) -> bool:
            if session is None:
                other.abort_transaction()
            db.auxiliary.update_one(*one_more, session=session)
            return session is not None

        # When another one writes it, then it gives up to be one
        assert db.transaction(body) is False
    assert db.auxiliary.find_one({"_id": "contested"})["writers"] == 1
    # and the next one is a transaction again, unless it has too many writes
    assert db.transaction(body) is True
    with db.client.start_session() as other:
        other.start_transaction()
        assert db.transaction(body, writes=MOST_AT_ONCE + 1) is False
