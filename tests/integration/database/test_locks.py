"""MongoLock: jobflow-remote's semantics, and a release that cannot be lost without notice."""

from __future__ import annotations

from typing import Any

import pytest

from jfr_mp.database.locks import MongoLock
from jfr_mp.errors import LeaseLost


@pytest.fixture
def things(queue: Any) -> Any:
    """A collection with one document."""
    things = queue.db.db["things"]
    things.insert_one({"name": "one", "state": "READY", "big": "value"})
    return things


def test_a_locked_document_is_not_to_be_had(things: Any) -> None:
    # Given a document that is locked
    with MongoLock(things, {"name": "one"}, lock_id="first") as first:
        assert not first.is_locked
        assert things.find_one()["lock_id"] == "first"
        assert MongoLock.get_lock_time(things.find_one()) is not None

        # When another wants it, then it gets nothing, or the locked document where it asks for that
        with MongoLock(things, {"name": "one"}) as second:
            assert (second.is_locked, second.unavailable_document) == (True, None)
        with MongoLock(things, {"name": "one"}, get_locked_doc=True) as third:
            assert third.locked_document is None
            assert third.unavailable_document is not None
            assert third.unavailable_document["lock_id"] == "first"

    # And afterwards it is free
    assert things.find_one()["lock_id"] is None


def test_nothing_to_lock_is_neither_locked_nor_unavailable(things: Any) -> None:
    with MongoLock(things, {"name": "other"}, get_locked_doc=True) as lock:
        assert (lock.locked_document, lock.unavailable_document) == (None, None)


def test_waiting_ends_with_max_wait_or_with_the_lock(things: Any) -> None:
    with MongoLock(things, {"name": "one"}) as first:
        with MongoLock(things, {"name": "one"}, sleep=0.01, max_wait=0.05) as second:
            assert second.unavailable_document is not None
        first.release()
        with MongoLock(things, {"name": "one"}, sleep=0.01) as third:
            assert third.locked_document is not None


@pytest.mark.parametrize("options", [{}, {"get_locked_doc": True}, {"sleep": 0.01}, {"break_lock": True}])
def test_an_update_at_the_moment_of_locking(things: Any, options: dict[str, Any]) -> None:
    # Dollars in a value are data, whatever way the lock takes
    with MongoLock(things, {"name": "one"}, update={"$set": {"state": "$name"}}, **options) as lock:
        assert lock.locked_document is not None
        assert lock.locked_document["state"] == "$name"


@pytest.mark.parametrize("options", [{"get_locked_doc": True}, {"sleep": 0.01, "max_wait": 0.02}])
def test_a_document_of_somebody_else_is_not_updated(things: Any, options: dict[str, Any]) -> None:
    with (
        MongoLock(things, {"name": "one"}),
        MongoLock(things, {"name": "one"}, update={"$set": {"state": "MINE"}}, **options),
    ):
        assert things.find_one()["state"] == "READY"


@pytest.mark.parametrize("update", [{"$set": {"state": "DONE"}}, [{"$set": {"state": "DONE"}}]])
def test_the_release_updates(things: Any, update: Any) -> None:
    with MongoLock(things, {"name": "one"}) as lock:
        lock.update_on_release = update
    assert (things.find_one()["state"], things.find_one()["lock_id"]) == ("DONE", None)


def test_the_release_deletes(things: Any) -> None:
    with MongoLock(things, {"name": "one"}) as lock:
        lock.delete_on_release = True
        with pytest.raises(ValueError, match="cannot be combined with delete_on_release"):
            lock.update_on_release = {"$set": {"state": "DONE"}}
    assert things.find_one() is None


def test_after_an_exception_only_the_lock_is_released(things: Any) -> None:
    with pytest.raises(RuntimeError, match="body"), MongoLock(things, {"name": "one"}) as lock:
        lock.update_on_release = {"$set": {"state": "DONE"}}
        raise RuntimeError("body")
    assert (things.find_one()["state"], things.find_one()["lock_id"]) == ("READY", None)


def test_a_lost_lock_writes_nothing(things: Any) -> None:
    with pytest.raises(LeaseLost, match="was lost"), MongoLock(things, {"name": "one"}) as lock:
        lock.update_on_release = {"$set": {"state": "DONE"}}
        with MongoLock(things, {"name": "one"}, break_lock=True, lock_id="thief") as thief:
            thief.forget()
    assert (things.find_one()["state"], things.find_one()["lock_id"]) == ("READY", "thief")


@pytest.mark.parametrize(
    ("projection", "fields"),
    [
        (["state"], {"_id", "state", "lock_id", "lock_time"}),
        ({"state": 1}, {"_id", "state", "lock_id", "lock_time"}),
        ({"big": 0}, {"_id", "name", "state", "lock_id", "lock_time"}),
    ],
)
def test_a_projection_always_has_the_lock(things: Any, projection: Any, fields: set[str]) -> None:
    with MongoLock(things, {"name": "one"}, projection=projection) as lock:
        assert lock.locked_document is not None
        assert set(lock.locked_document) == fields
