"""Why a job is where it is, as a table."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jfr_mp.diagnosis.facts import Cause, Facts, LockHolder, Parent
from jfr_mp.diagnosis.reasons import reasons_of
from jfr_mp.model import JobInfo, Outage, StepInHand
from jfr_mp.states import JobState
from jfr_mp.step_table import Role

NOW = datetime(2025, 6, 1, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)
OUTAGE = Outage(host="w", since=NOW, why="no route", next_try=LATER)
OURS = LockHolder("jfr-mp/node1:5:a/b", NOW, "node1:5:a", "transfer-1", alive=True)
SLOW = StepInHand(step="complete", db_id="7", since=NOW, limit=60)
DEAD = LockHolder("jfr-mp/node1:5:a/b", NOW, "node1:5:a")
FOREIGN = LockHolder("0b0cdf24-95ca-4b3f-8f0c-b6d39a6c7a1f", NOW)


def job(state: str, **fields: Any) -> JobInfo:
    return JobInfo(uuid="u", index=1, db_id="7", worker="w", state=JobState[state], name="relax", **fields)


def remote(**fields: Any) -> dict[str, Any]:
    return {"remote": fields}


def parent(state: str, db_id: str = "6", error: str | None = None) -> Parent:
    return Parent(f"p{db_id}", db_id, "prep", JobState[state], error)


def waits_for(*causes: Parent, beyond: bool = False, through: Parent | None = None) -> dict[str, Any]:
    return {"job": job("WAITING"), "causes": tuple(Cause(cause, through or cause, beyond) for cause in causes)}


@pytest.mark.parametrize(
    ("facts", "reasons"),
    [
        # What rests until the user moves it
        ({"job": job("COMPLETED")}, [("its output is stored", "nothing to do")]),
        ({"job": job("FAILED", error="Traceback\n\nValueError: bad")}, [("failed: ValueError: bad", "queue-out 7")]),
        (
            {"job": job("REMOTE_ERROR", previous_state="UPLOADED", **remote(step_attempts=3, error="no such qos"))},
            [("the step submit failed 3 times and is not retried: no such qos", "`jfr-mp job retry 7`")],
        ),
        ({"job": job("PAUSED")}, [("a user paused it", "`jfr-mp job resume 7`")]),
        ({"job": job("STOPPED")}, [("a job of its flow stopped it", "`jfr-mp job resume 7`")]),
        ({"job": job("USER_STOPPED")}, [("a user stopped it", "`jfr-mp job resume 7`")]),
        # What waits for other jobs
        (waits_for(parent("RUNNING")), [("it waits for job 6 (prep), which is RUNNING", "jfr-mp job explain 6")]),
        (
            waits_for(parent("FAILED", error="Traceback\nValueError: bad")),
            [("waits for job 6 (prep), which is FAILED: ValueError: bad", "`jfr-mp job rerun 6`")],
        ),
        (waits_for(parent("REMOTE_ERROR")), [("which is REMOTE_ERROR", "`jfr-mp job retry 6`")]),
        (waits_for(parent("PAUSED")), [("which is PAUSED", "`jfr-mp job resume 6`")]),
        (
            waits_for(parent("FAILED", "2"), through=parent("WAITING")),
            [
                (
                    "waits for job 6 (prep), which is WAITING; the first cause is job 2 (prep), which is FAILED",
                    "until job 2 completes: remove the cause, then `jfr-mp job rerun 2`",
                )
            ],
        ),
        (
            waits_for(parent("RUNNING", "3"), parent("STOPPED", "2"), through=parent("WAITING")),
            [("job 2 (prep), which is STOPPED", "resume 2"), ("job 3 (prep), which is RUNNING", "explain 3")],
        ),
        (waits_for(Parent("p")), [("it waits for the job p, which does not exist", "submit it again")]),
        (
            waits_for(Parent("p"), through=parent("WAITING")),
            [("which is WAITING; the first cause is the job p, which does not exist", "submit it again")],
        ),
        (
            waits_for(parent("WAITING", "2"), through=parent("WAITING")),
            [("the first cause is job 2 (prep), which is WAITING although all its parents are done", "explain 2")],
        ),
        (
            waits_for(parent("WAITING", "2"), through=parent("WAITING"), beyond=True),
            [("the farthest that was examined is job 2", "jfr-mp job explain 2")],
        ),
        (waits_for(), [("cut off", "jfr-mp admin reconcile")]),
        # Who has it
        (
            {"job": job("CHECKED_OUT"), "lock": OURS},
            [("it has been locked by transfer-1 (node1:5:a) since", "it ends soon")],
        ),
        (
            {"job": job("DOWNLOADED"), "lock": replace(OURS, step=SLOW)},
            [("the step complete began at", "the process is replaced and the step is tried once more")],
        ),
        ({"job": job("CHECKED_OUT"), "lock": DEAD}, [("has sent no heartbeat lately", "jfr-mp admin reconcile")]),
        ({"job": job("CHECKED_OUT"), "lock": FOREIGN}, [("jobflow-remote or a tool", "--break-locks")]),
        ({"job": job("DOWNLOADED"), "flow_lock": OURS}, [("its flow has been locked by transfer-1", "it ends soon")]),
        (
            {"job": job("READY"), "flow_lock": OURS},
            [("the next step, checkout, is to reserve", "the checkout role does it soon")],
        ),
        # Who does not do it
        ({"job": job("READY"), "roles": frozenset()}, [("no master is running on any machine", "`jfr-mp start`")]),
        (
            {"job": job("UPLOADED"), "roles": frozenset({Role.TRANSFER})},
            [("no process with the role queue", "`jfr-mp start --queue`")],
        ),
        ({"job": job("UPLOADED"), "worker_known": False}, [("no worker w", "put it back")]),
        # What it waits for
        ({"job": job("RUN_FINISHED"), "outage": OUTAGE}, [("has been unreachable since", "costs the job no attempt")]),
        (
            {"job": job("UPLOADED", **remote(error="no route")), "outage": OUTAGE},
            [("has been unreachable since", "`jfr-mp project check` tests the worker")],
        ),
        (
            {"job": job("UPLOADED", **remote(step_attempts=1, error="busy", retry_time_limit=LATER))},
            [("attempt 1 of the step submit: busy", "the next attempt is at")],
        ),
        (
            {"job": job("UPLOADED", **remote(error="site limit", retry_time_limit=LATER))},
            [("the step submit was put off: site limit", "the next attempt is at")],
        ),
        (
            {"job": job("UPLOADED", **remote(step_attempts=2, error="busy", retry_time_limit=NOW))},
            [("attempt 2", "the next attempt is due")],
        ),
        ({"job": job("UPLOADED"), "max_jobs": 4, "in_queue": 4}, [("has 4 jobs in its scheduler", "max_jobs")]),
        (
            {"job": job("UPLOADED"), "max_jobs": 4, "in_queue": 3},
            [("the next step, submit", "the queue role does it soon")],
        ),
        (
            {"job": job("RUNNING", **remote(process_id="123")), "scheduler": "RUNNING (R)"},
            [("the scheduler says of 123: RUNNING (R)", "notices its end as soon as")],
        ),
        ({"job": job("BATCH_SUBMITTED")}, [("waits in the pool", "max_jobs")]),
        (
            {"job": job("BATCH_SUBMITTED", **remote(error="batch 5 ended"))},
            [("batch 5 ended", "jfr-mp project check"), ("waits in the pool", "max_jobs")],
        ),
        (
            {"job": job("BATCH_RUNNING"), "outage": OUTAGE},
            [("unreachable", "the cause"), ("runs in a batch", "until it ends")],
        ),
        # Several at once, in the order in which they matter
        (
            {"job": job("RUNNING", **remote(process_id="1")), "lock": DEAD, "outage": OUTAGE, "scheduler": "no answer"},
            [("no heartbeat", "reconcile"), ("unreachable", "the cause"), ("no answer", "see above")],
        ),
    ],
    ids=lambda value: value["job"].state.name if isinstance(value, dict) else None,
)
def test_reasons(facts: dict[str, Any], reasons: list[tuple[str, str]]) -> None:
    found = reasons_of(Facts(now=NOW, **facts))

    assert len(found) == len(reasons), found
    for reason, (why, cure) in zip(found, reasons, strict=True):
        assert why in reason.why
        assert cure in reason.cure


@pytest.mark.parametrize("state", list(JobState))
def test_every_state_has_a_reason(state: JobState) -> None:
    assert reasons_of(Facts(job=job(state.name), now=NOW))
