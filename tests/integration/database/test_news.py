"""The thread that tells which states have new jobs."""

from __future__ import annotations

import queue as queues
import threading
from collections.abc import Callable

from jfr_mp.database.news import News
from jfr_mp.states import JobState
from tests.integration.database.conftest import Queue
from tests.support import jobs
from tests.support.mongod import Mongod

WITHIN = 20.0
WANTED = frozenset({JobState.READY, JobState.UPLOADED})


def test_it_tells_all_states_at_first_and_after_an_interruption_and_changes_between(queue: Queue) -> None:
    told: queues.SimpleQueue[frozenset[JobState]] = queues.SimpleQueue()
    with News(queue.db, WANTED, told.put):
        assert told.get(timeout=WITHIN) == WANTED
        queue.add(jobs.add(1))
        assert told.get(timeout=WITHIN) == {JobState.READY}
        queue.db.client.admin.command("killAllSessions", [])
        assert told.get(timeout=WITHIN) == WANTED
        queue.db.jobs.update_one({}, {"$set": {"state": "UPLOADED"}})
        assert told.get(timeout=WITHIN) == {JobState.UPLOADED}


def test_a_server_that_reports_no_changes_is_not_asked(
    open_queue: Callable[..., Queue], mongod_standalone: Mongod
) -> None:
    told: queues.SimpleQueue[frozenset[JobState]] = queues.SimpleQueue()
    db = open_queue(mongod_standalone).db
    before = set(threading.enumerate())
    with News(db, WANTED, told.put):
        assert set(threading.enumerate()) <= before
    assert told.empty()
