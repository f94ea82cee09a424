"""The outbox: what is noticed twice is told once, messages are limited, and what was interrupted goes on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jfr_mp.config import ConfigManager
from jfr_mp.database.connection import QueueDatabase
from jfr_mp.database.notifications import Bundle, Notice, Outbox, ReadingProgress
from tests.support.projects import ProjectFactory
from tests.support.waiting import wait_until


@pytest.fixture
def db(fresh_project: ProjectFactory) -> Iterator[QueueDatabase]:
    fresh_project()
    opened = QueueDatabase.connect(ConfigManager().get_project())
    yield opened
    opened.close()


@pytest.fixture
def outbox(db: QueueDatabase) -> Outbox:
    made = Outbox(db)
    made.prepare()
    return made


def notices(*keys: str, rule: str = "r") -> list[Notice]:
    return [Notice(rule, "job_failed", key, f"job {key}") for key in keys]


def bundle(outbox: Outbox, interval: float = 0.0, gather: float = 0.0) -> Bundle | None:
    return outbox.bundle("r", interval=interval, gather=gather, most=10)


def test_many_notices_are_one_message_and_the_next_one_waits(outbox: Outbox) -> None:
    # Given more notices than a message lists, some of them noticed twice
    keys = [f"{number:02}" for number in range(37)]
    outbox.add(notices(*keys))
    outbox.add(notices(*keys[:20]))
    assert bundle(outbox, gather=60) is None
    made = bundle(outbox)
    assert made is not None
    assert (made.counts, len(made.first)) == ({"job_failed": 37}, 10)

    # When the message is made, and more is noticed, and the same again
    outbox.post(made, ["a", "b"], "title", "body")
    outbox.add(notices(*keys, "new"))

    # Then only what is new waits for the next message
    assert bundle(outbox, interval=60) is None
    assert outbox.waiting() == {"r": 1}
    following = wait_until(lambda: bundle(outbox, interval=0.2), 10, "the time of the next message")
    assert following is not None
    assert following.counts == {"job_failed": 1}
    assert outbox.targets_due() == ["a", "b"]


def test_a_message_that_was_interrupted_is_made_once(outbox: Outbox, db: QueueDatabase) -> None:
    # Given a message that was begun, and one of its deliveries
    outbox.add(notices("1", "2"))
    begun = bundle(outbox)
    assert begun is not None
    outbox.post(begun, ["a"], "title", "body")
    db.notifications.update_many({"kind": "notice"}, {"$unset": {"done_on": 1}})
    outbox.add(notices("3"))

    # When another process goes on, then it finds the same message, and then the rest
    again = bundle(outbox, interval=60)
    assert again == begun
    outbox.post(again, ["a", "b"], "title", "body")
    assert sorted(each.id for each in outbox.recent(9)) == [f"{begun.message}/a", f"{begun.message}/b"]
    rest = bundle(outbox)
    assert rest is not None
    assert [notice.key for notice in rest.first] == ["3"]


def test_a_delivery_is_taken_by_one_and_comes_back(outbox: Outbox, db: QueueDatabase) -> None:
    outbox.add(notices("1"))
    made = bundle(outbox)
    assert made is not None
    outbox.post(made, ["a"], "title", "body")

    # Given a process that took the delivery, then no other process can
    taken = outbox.take("a", 60)
    assert taken is not None
    assert (taken.title, taken.tries) == ("title", 1)
    assert outbox.take("a", 60) is None
    assert outbox.targets_due() == []

    # When that process is found dead, then the delivery comes back after a pause
    outbox.release("a", "it was killed")
    assert outbox.take("a", 60) is None
    again = wait_until(lambda: outbox.take("a", 0.2), 10, "the delivery after its pause")
    assert again is not None
    assert (again.tries, again.error) == (2, "it was killed")

    # And also if nobody finds it dead
    last = wait_until(lambda: outbox.take("a", 60), 10, "the delivery after its time")
    assert last is not None
    assert last.tries == 3

    # When it fails for a day, then it is given up
    assert outbox.failed(last, "refused")
    db.notifications.update_one({"_id": last.id}, {"$set": {"created_on": datetime.now(UTC) - timedelta(days=2)}})
    (late,) = outbox.recent(9)
    assert not outbox.failed(late, "refused")
    assert [(each.state, each.error) for each in outbox.recent(9)] == [("given_up", "refused")]


def test_progress_and_rules_that_are_gone(outbox: Outbox) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    assert outbox.progress() is None
    outbox.save(ReadingProgress(now, now, "token"))
    assert outbox.progress() == ReadingProgress(now, now, "token")
    outbox.add(notices("1", rule="gone"))
    assert outbox.rules_with_notices() == ["gone"]
    outbox.drop("gone")
    assert outbox.rules_with_notices() == []


def post(outbox: Outbox, *keys: str) -> None:
    """Post a message for each key to the target `a`."""
    for key in keys:
        outbox.add(notices(key))
        made = bundle(outbox)
        assert made is not None
        outbox.post(made, ["a"], key, "body")


def test_a_target_that_fails_is_not_tried_for_each_message(outbox: Outbox) -> None:
    # Given many messages for a target that does not accept the first
    post(outbox, "1", "2", "3")
    first = outbox.take("a", 60)
    assert first is not None
    assert outbox.failed(first, "refused")
    # Then all of them wait, and new ones as well
    post(outbox, "4")
    assert outbox.targets_due() == []

    # When the target accepts one after the pause, which is one that was tried less
    following = wait_until(lambda: outbox.take("a", 60), 20, "the end of the pause")
    assert following is not None
    assert following.title == "2"
    outbox.sent(following)
    # Then the others follow at once, the one that it has refused last
    rest = [outbox.take("a", 60) for _ in range(4)]
    assert [each and each.title for each in rest] == ["3", "4", "1", None]


def test_damaged_documents_stop_no_message(outbox: Outbox, db: QueueDatabase) -> None:
    # Given documents of all kinds that nobody can have written
    wrong: list[dict[str, Any]] = [
        *({"kind": kind} for kind in ("notice", "delivery", "condition", "progress", 5)),
        {"kind": "notice", "rule": 5, "message": None, "noticed": "now"},
        {"kind": "notice", "rule": "r", "message": {"$ne": None}, "noticed": datetime.now(UTC)},
        {"kind": "notice", "rule": "r", "message": "m", "noticed": datetime.now(UTC), "occasion": "tea"},
        {"kind": "delivery", "rule": "r", "target": "a", "state": "pending", "due": datetime(2000, 1, 1, tzinfo=UTC)},
        {"kind": "delivery", "target": {"$gt": ""}, "state": "pending", "taken": True, "created_on": "now"},
        {"_id": "progress", "begun": "now", "token": ["x"]},
        {"_id": "condition/down", "since": "long ago", "kind": "condition"},
    ]
    db.notifications.insert_many(wrong)
    # When something is noticed
    assert outbox.progress() is None
    assert outbox.hold_since(["down"]) == {}
    assert outbox.rules_with_notices() == []
    post(outbox, "1")
    # Then its message is sent
    assert outbox.targets_due() == ["a"]
    outbox.release("a", "no")
    taken = outbox.take("a", 60)
    assert taken is not None
    outbox.sent(taken)
    assert outbox.take("a", 60) is None
    assert [each.title for each in outbox.recent(99)] == ["1"]
    assert outbox.waiting() == {}


def test_long_texts_are_shortened(outbox: Outbox) -> None:
    outbox.add([Notice("r", "job_failed", "k", "x" * 10**6, detail="y" * 10**6)])
    made = bundle(outbox)
    assert made is not None
    assert len(made.first[0].subject) + len(made.first[0].detail) < 2000
