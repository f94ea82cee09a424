"""Change streams: news of jobs, whoever brought it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from jfr_mp.database.changes import StateChanges
from jfr_mp.states import JobState
from tests.integration.database.conftest import Queue
from tests.support import jobs

TIMEOUT = 5.0


@pytest.fixture
def changes(queue: Queue) -> Iterator[StateChanges]:
    changes = StateChanges(queue.db, [JobState.READY, JobState.UPLOADED])
    assert changes.wait(0.05) == set()  # it watches from here on
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
    changes.close()
    assert changes.wait(0.05) == set()
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
