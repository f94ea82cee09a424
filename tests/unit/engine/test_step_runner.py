"""The step runner: claim, run, commit - on a database in memory, with steps that are functions of the test."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import mongomock_ng as mongomock
import pytest

from jfr_mp.database.connection import QueueDatabase
from jfr_mp.database.filters import JobFilter
from jfr_mp.engine.step_runner import Pace, StepRunner
from jfr_mp.engine.traces import Traces, TraceSpan
from jfr_mp.engine.wakeups import LocalWakeups
from jfr_mp.errors import HostUnreachable
from jfr_mp.model import JobInfo
from jfr_mp.outcomes import Advance, Fail, Outcome, Retry
from jfr_mp.states import JobState
from jfr_mp.step_table import COMPLETE, POLL, UPLOAD, Step
from jfr_mp.steps.services import Services
from tests.support.sites import services_with

BEGIN = datetime(2026, 1, 2, tzinfo=UTC)


class InMemory(QueueDatabase):
    """A database in this process, which knows no command that tells the time."""

    def server_time(self) -> datetime:
        return datetime.now(UTC)


class Bench:
    """A step runner, whose step `upload` is a function of the test, and its jobs.

    Parameters
    ----------
    monkeypatch
        Replaces the function of the step.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.services: Services = services_with(w={"type": "local", "scheduler_type": "shell", "work_dir": "/work"})
        client: Any = mongomock.MongoClient()
        self.db = InMemory(client, "queue", "jobs", self.services.project, "memory")
        self.wakeups = LocalWakeups()
        self.runner = StepRunner(self.db, self.services, "host:1:aaaa", self.wakeups)
        self._monkeypatch = monkeypatch

    def add(self, number: int, **fields: Any) -> None:
        """Add jobs that are CHECKED_OUT, the oldest first."""
        for n in range(1, number + 1):
            uuid = f"uuid-{n}"
            place = {"uuid": uuid, "index": 1, "db_id": str(n), "worker": "w", "state": "CHECKED_OUT", "lock_id": None}
            order = {"created_on": BEGIN + timedelta(seconds=n), "updated_on": BEGIN, "priority": 0}
            job = {"uuid": uuid, "index": 1, "name": "add", "hosts": ["flow"]}
            self.db.jobs.insert_one({**place, **order, "job": job, "parents": [], "remote": {}, **fields})

    def step_is(self, function: Callable[[str], Outcome]) -> None:
        """Let the step call a function with the db_id of the job."""
        self._monkeypatch.setattr(Step, "load", lambda _step: lambda job, _site, _services: function(job.db_id))

    def states(self) -> list[str]:
        """Return the states of the jobs; none of them may be locked."""
        jobs = list(self.db.jobs.find(sort=[("created_on", 1)]))
        assert [job["lock_id"] for job in jobs] == [None] * len(jobs)
        return [job["state"] for job in jobs]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


def test_jobs_are_claimed_moved_and_written_together(bench: Bench) -> None:
    # Given more jobs than one turn takes
    bench.add(5)
    bench.step_is(lambda _db_id: Advance(JobState.UPLOADED, {"run_dir": "/d"}))

    # When the step has a turn
    done = bench.runner.advance(UPLOAD, limit=3)

    # Then the oldest have moved, and the result says that there are more
    assert [(result.db_id, result.states) for result in done.results] == [(n, (JobState.UPLOADED,)) for n in "123"]
    assert done.more
    assert bench.states() == ["UPLOADED"] * 3 + ["CHECKED_OUT"] * 2
    assert not bench.runner.advance(UPLOAD, limit=3).more


def test_spans_name_the_flow_that_lists_the_job(bench: Bench) -> None:
    # Given a job of an inner flow, to which the user has added another host
    spans: list[TraceSpan] = []
    sink: Any = SimpleNamespace(take=spans.append)
    runner = StepRunner(bench.db, bench.services, "host:1:aaaa", bench.wakeups, Traces(sink))
    bench.add(1, job={"uuid": "uuid-1", "index": 1, "name": "add", "hosts": ["inner", "flow", "of the user"]})
    bench.db.flows.insert_one({"uuid": "flow", "jobs": ["uuid-1"]})
    bench.step_is(lambda _db_id: Advance(JobState.UPLOADED))

    # When a step moves it
    runner.advance(UPLOAD)

    # Then its spans name the flow
    assert [span.attributes.get("jfr_mp.flow.uuid") for span in spans] == ["flow", "flow"]


def test_a_step_that_raises_for_one_job_stops_no_other(bench: Bench) -> None:
    bench.add(4)

    def step(db_id: str) -> Outcome:
        match db_id:
            case "1":
                raise RuntimeError("broken")
            case "2":
                raise HostUnreachable("away")
            case "3":
                return Fail("hopeless")
        return Advance(JobState.UPLOADED)

    bench.step_is(step)
    outcomes = {result.db_id: result.outcome for result in bench.runner.advance(UPLOAD).results}
    assert isinstance(outcomes["1"], Retry)
    assert "broken" in outcomes["1"].why
    assert isinstance(outcomes["2"], Retry)
    assert not outcomes["2"].spend_attempt
    assert bench.states() == ["CHECKED_OUT", "CHECKED_OUT", "REMOTE_ERROR", "UPLOADED"]
    attempts = [job["remote"].get("step_attempts") for job in bench.db.jobs.find(sort=[("created_on", 1)])]
    assert attempts[:2] == [1, 0]
    # The first waits for its next attempt; the second may be claimed as soon as its host is tried again
    assert [result.db_id for result in bench.runner.advance(UPLOAD).results] == ["2"]


def test_a_stop_leaves_the_jobs_that_were_not_begun(bench: Bench) -> None:
    # Given a stop that is requested during the first of three jobs
    bench.add(3)

    def step(_db_id: str) -> Outcome:
        bench.wakeups.request_stop()
        return Advance(JobState.UPLOADED)

    bench.step_is(step)
    assert len(bench.runner.advance(UPLOAD).results) == 1
    assert bench.states() == ["UPLOADED", "CHECKED_OUT", "CHECKED_OUT"]


def test_a_job_that_was_taken_meanwhile_is_not_written(bench: Bench) -> None:
    # Given two jobs, of which one is paused while the step works on them
    bench.add(2)

    def step(db_id: str) -> Outcome:
        if db_id == "1":
            bench.db.jobs.update_one({"db_id": "1"}, {"$set": {"state": "PAUSED"}})
        return Advance(JobState.UPLOADED)

    bench.step_is(step)
    assert [result.db_id for result in bench.runner.advance(UPLOAD).results] == ["2"]
    assert bench.states() == ["PAUSED", "UPLOADED"]


def test_results_of_jobs_that_moved_since_they_were_seen_are_dropped(bench: Bench) -> None:
    # Given jobs as they were seen, of which one has moved and one is locked since
    bench.add(3, state="SUBMITTED")
    fields = {"name": "add", "created_on": BEGIN, "updated_on": BEGIN}
    seen = [
        JobInfo.model_validate(
            {"uuid": f"uuid-{n}", "index": 1, "db_id": str(n), "worker": "w", "state": "SUBMITTED", **fields}
        )
        for n in (1, 2, 3)
    ]
    bench.db.jobs.update_one({"db_id": "1"}, {"$set": {"state": "RUNNING"}})
    bench.db.jobs.update_one({"db_id": "2"}, {"$set": {"lock_id": "another"}})

    # When the results of all three are written
    written = bench.runner.write(POLL, [(job, Advance(JobState.RUNNING)) for job in seen])

    # Then only the third is
    assert [result.db_id for result in written] == ["3"]
    assert [job["state"] for job in bench.db.jobs.find(sort=[("created_on", 1)])] == ["RUNNING", "SUBMITTED", "RUNNING"]


def test_only_the_jobs_of_the_filter_are_claimed(bench: Bench) -> None:
    bench.add(3)
    bench.step_is(lambda _db_id: Advance(JobState.UPLOADED))
    assert [result.db_id for result in bench.runner.advance(UPLOAD, JobFilter(db_ids=("2",))).results] == ["2"]


def test_quick_steps_claim_more_and_slow_ones_one_by_one() -> None:
    pace = Pace()
    first = pace.width(UPLOAD)
    widths = []
    for _ in range(4):
        pace.note(UPLOAD, pace.width(UPLOAD), 0.01)
        widths.append(pace.width(UPLOAD))
    assert first < widths[0] <= widths[-1] == UPLOAD.claims

    # A slow one leaves the jobs to other processes, for this step alone
    pace.note(UPLOAD, 2, 60.0)
    assert pace.width(UPLOAD) == 1
    assert pace.width(COMPLETE) == first


def test_a_turn_without_jobs_says_nothing_about_the_pace() -> None:
    pace = Pace()
    pace.note(UPLOAD, 1, 60.0)
    pace.note(UPLOAD, 0, 0.0)
    assert pace.width(UPLOAD) == 1


@pytest.mark.parametrize("local", [True, False], ids=["here", "remote"])
def test_a_step_waits_for_several_answers_of_a_host_at_once(bench: Bench, local: bool) -> None:
    # Given four jobs, of which three wait until all of them have begun
    if not local:
        far = {"type": "remote", "scheduler_type": "slurm", "work_dir": "/work", "host": "cluster"}
        bench.services.project.workers.update(services_with(w=far).project.workers)
    bench.add(4)
    together, met = threading.Barrier(3), []

    def step(db_id: str) -> Outcome:
        if db_id == "2":
            raise HostUnreachable("down")
        with suppress(threading.BrokenBarrierError):
            met.append(together.wait(0.1 if local else 20))
        return Advance(JobState.UPLOADED)

    bench.step_is(step)

    # When the step has a turn
    results = bench.runner.advance(UPLOAD).results

    # Then all outcomes are written, and only what waits for a host was done at the same time
    assert sorted(result.db_id for result in results) == ["1", "2", "3", "4"]
    assert bench.states() == ["UPLOADED", "CHECKED_OUT", "UPLOADED", "UPLOADED"]
    assert bool(met) is not local


def test_a_stop_leaves_the_jobs_of_a_host_that_were_not_begun(bench: Bench) -> None:
    far = {"type": "remote", "scheduler_type": "slurm", "work_dir": "/work", "host": "cluster"}
    bench.services.project.workers.update(services_with(w=far).project.workers)
    bench.add(4)
    bench.wakeups.request_stop()
    bench.step_is(lambda _db_id: Advance(JobState.UPLOADED))
    assert bench.runner.advance(UPLOAD).results == []
    assert bench.states() == ["CHECKED_OUT"] * 4
