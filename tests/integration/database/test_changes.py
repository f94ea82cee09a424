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
    assert changes.wait(0.05) is None  # it watches from here on
    yield changes
    changes.close()


def test_a_flow_that_is_submitted_is_news(queue: Queue, changes: StateChanges) -> None:
    queue.add(jobs.chain(2))
    assert changes.wait(TIMEOUT) is JobState.READY


def test_only_the_wanted_states_are_news(queue: Queue, changes: StateChanges) -> None:
    queue.add(jobs.add(1))
    assert changes.wait(TIMEOUT) is JobState.READY
    for state in ("CHECKED_OUT", "UPLOADED"):
        queue.db.jobs.update_one({}, {"$set": {"state": state}})
    assert changes.wait(TIMEOUT) is JobState.UPLOADED


def test_it_watches_anew_after_an_error(queue: Queue, changes: StateChanges) -> None:
    changes.close()
    assert changes.wait(0.05) is None
    queue.add(jobs.add(1))
    assert changes.wait(TIMEOUT) is JobState.READY
