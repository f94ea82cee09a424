"""A user has a job run again from the beginning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from jobflow import Flow, Job

from jfr_mp.database.job_commands import LockPolicy
from jfr_mp.database.rerun import Rerun
from jfr_mp.errors import FlowLockedError, JfrMpError, JobLockedError
from jfr_mp.model import JobInfo
from jfr_mp.outcomes import Completion
from jfr_mp.states import JobState
from tests.support.jobs import add, replace_with

ME = LockPolicy("host:2:bbbb")


class Family:
    """A job, its child and its grandchild, with what happened to them."""

    def __init__(self, queue: Any, *states: JobState) -> None:
        first = add(1)
        second = add(first.output)
        self.jobs = [first, second, add(second.output)]
        self.queue = queue
        self.db_ids = queue.add(Flow([*self.jobs]))
        for job, state in zip(self.jobs, states, strict=True):
            queue.put(job, state)

    @property
    def states(self) -> list[str]:
        return [self.queue.job(job)["state"] for job in self.jobs]

    @property
    def locks(self) -> set[str | None]:
        return {document["lock_id"] for name in ("jobs", "flows") for document in getattr(self.queue.db, name).find()}


S = JobState


@pytest.mark.parametrize("state", [S.CHECKED_OUT, S.RUNNING, S.DOWNLOADED, S.REMOTE_ERROR, S.FAILED])
def test_a_job_on_its_way_or_ended_badly_begins_again(queue: Any, state: JobState) -> None:
    # Given such a job, with traces of its run
    family = Family(queue, state, S.WAITING, S.WAITING)
    queue.put(family.jobs[0], state, error="a traceback", **{"remote.step_attempts": 2, "remote.error": "a cause"})
    ended: list[JobInfo] = []

    # When it is run again
    changed = Rerun(queue.db, ME, end_process=ended.append).of(family.db_ids[0])

    # Then its process was ended, and nothing of it is left
    assert changed == family.db_ids[:1]
    assert [job.state for job in ended] == [state]
    document = queue.job(family.jobs[0])
    assert (document["state"], document["error"], document["remote"]["prerun_cleanup"]) == ("READY", None, True)
    assert (document["remote"]["step_attempts"], document["remote"]["error"]) == (0, None)
    assert family.states == ["READY", "WAITING", "WAITING"]
    assert family.locks == {None}


def test_its_files_may_stay(queue: Any) -> None:
    family = Family(queue, S.FAILED, S.WAITING, S.WAITING)
    Rerun(queue.db, ME, delete_files=False).of(family.db_ids[0])
    assert queue.job(family.jobs[0])["remote"]["prerun_cleanup"] is False


def test_a_child_that_could_start_waits_again_and_a_paused_one_stays_so(queue: Any) -> None:
    # Given a job that failed, and a child that accepts that
    family = Family(queue, S.FAILED, S.READY, S.PAUSED)
    changed = Rerun(queue.db, ME).of(family.db_ids[0])
    assert changed == [family.db_ids[1], family.db_ids[0]]
    assert family.states == ["READY", "WAITING", "PAUSED"]
    assert queue.flow(family.jobs[0])["state"] == "PAUSED"


def test_with_force_all_that_depends_on_it_runs_again(queue: Any) -> None:
    family = Family(queue, S.COMPLETED, S.COMPLETED, S.FAILED)
    with pytest.raises(JfrMpError, match="is COMPLETED; to rerun it anyway, use --force"):
        Rerun(queue.db, ME).of(family.db_ids[0])
    assert Rerun(queue.db, ME, force=True).of(family.db_ids[0]) == [*family.db_ids[1:], family.db_ids[0]]
    assert family.states == ["READY", "WAITING", "WAITING"]
    assert queue.flow(family.jobs[0])["state"] == "READY"


@pytest.mark.parametrize(
    ("states", "complaint"),
    [
        ((S.READY, S.WAITING, S.WAITING), "is READY and has not run yet"),
        ((S.WAITING, S.WAITING, S.WAITING), "is WAITING and has not run yet"),
        ((S.BATCH_RUNNING, S.WAITING, S.WAITING), "a batch may have taken it"),
        ((S.FAILED, S.RUNNING, S.WAITING), "depends on it and is already RUNNING"),
        ((S.PAUSED, S.WAITING, S.WAITING), "is PAUSED; to rerun it anyway, use --force"),
    ],
)
def test_a_rerun_that_would_make_the_flow_inconsistent_is_refused(
    queue: Any, states: tuple[JobState, ...], complaint: str
) -> None:
    family = Family(queue, *states)
    with pytest.raises(JfrMpError, match=complaint):
        Rerun(queue.db, ME).of(family.db_ids[0])
    assert family.states == [state.value for state in states]
    assert family.locks == {None}


def test_a_replaced_job_cannot_be_rerun(queue: Any, run_job: Callable[[Job], Completion]) -> None:
    # Given a job that was replaced, and the one that it depends on
    first = add(1)
    db_ids = queue.add(Flow([first, second := replace_with([first.output])]))
    queue.complete(first)
    resolved = replace_with([2.0])
    resolved.set_uuid(second.uuid)
    queue.complete(second, run_job(resolved))

    # Then neither can be rerun, not even with force
    for db_id, complaint in zip(db_ids, ("depends on it and has been replaced", "has been replaced by"), strict=True):
        with pytest.raises(JfrMpError, match=complaint):
            Rerun(queue.db, ME, force=True).of(db_id)


def test_locked_jobs_and_flows_are_not_changed(queue: Any) -> None:
    family = Family(queue, S.FAILED, S.READY, S.WAITING)
    foreign = {"$set": {"lock_id": "0b0cdf24"}}
    for collection, query, error in (
        (queue.db.jobs, {"db_id": family.db_ids[1]}, JobLockedError),
        (queue.db.flows, {}, FlowLockedError),
        (queue.db.jobs, {"db_id": family.db_ids[0]}, JobLockedError),
    ):
        collection.update_one(query, foreign)
        with pytest.raises(error, match="locked by 0b0cdf24"):
            Rerun(queue.db, ME).of(family.db_ids[0])
        assert family.states == ["FAILED", "READY", "WAITING"]
        assert family.locks == {None, "0b0cdf24"}
        collection.update_one(query, {"$set": {"lock_id": None}})
