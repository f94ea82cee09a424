"""Change streams: news of jobs, whoever brought it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pymongo.errors import PyMongoError

from jfr_mp.database.changes import StateChanges
from jfr_mp.states import JobState
from tests.integration.database.conftest import Queue
from tests.support import jobs

TIMEOUT = 5.0
ALL = {JobState.READY, JobState.UPLOADED}


@pytest.fixture
def changes(queue: Queue) -> Iterator[StateChanges]:
    changes = StateChanges(queue.db, ALL)
    assert changes.wait(0.05) == ALL  # it watches from here on
    yield changes
    changes.close()


def test_a_flow_that_is_submitted_is_news(queue: Queue, changes: StateChanges) -> None:
    queue.add(jobs.chain(2))
    assert changes.wait(TIMEOUT) == {JobState.READY}


def test_only_the_wanted_states_are_news(queue: Queue, changes: StateChanges) -> None:
    queue.add(jobs.add(1))
    assert changes.wait(TIMEOUT) == {JobState.READY}
    for state in ("CHECKED_OUT", "UPLOADED"):
        queue.db.jobs.update_one({}, {"$set": {"state": state}})
    assert changes.wait(TIMEOUT) == {JobState.UPLOADED}


def test_it_watches_anew_after_an_error(queue: Queue, changes: StateChanges) -> None:
    queue.db.client.admin.command("killAllSessions", [])
    with pytest.raises(PyMongoError):
        changes.wait(TIMEOUT)
    # What happened meanwhile is not known, so all states may have new jobs.
    assert changes.wait(TIMEOUT) == ALL
    queue.add(jobs.add(1))
    assert changes.wait(TIMEOUT) == {JobState.READY}


def test_a_lock_that_is_freed_is_news(queue: Queue, changes: StateChanges) -> None:
    queue.add(jobs.add(1))
    assert changes.wait(TIMEOUT) == {JobState.READY}
    queue.db.jobs.update_one({}, {"$set": {"lock_id": "somebody"}})
    assert changes.wait(0.1) == set()
    queue.db.jobs.update_one({}, {"$set": {"lock_id": None}})
    assert changes.wait(TIMEOUT) == {JobState.READY, JobState.UPLOADED}
    # A state and a lock that change together are the news of that state alone.
    queue.db.jobs.update_one({}, {"$set": {"lock_id": "somebody", "state": "CHECKED_OUT"}})
    queue.db.jobs.update_one({}, {"$set": {"lock_id": None, "state": "RUNNING"}})
    assert changes.wait(0.1) == set()


def test_changes_that_come_together_are_read_together(queue: Queue, changes: StateChanges) -> None:
    queue.add(jobs.add(1))
    queue.db.jobs.update_one({}, {"$set": {"state": "UPLOADED"}})
    assert changes.wait(TIMEOUT) == ALL
    assert changes.wait(0.05) == set()
