"""Why a job is where it is, as a table."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jfr_mp.diagnosis.explain import Facts, LockHolder, Parent, explain
from jfr_mp.model import JobInfo, Outage
from jfr_mp.states import JobState
from jfr_mp.step_table import Role

NOW = datetime(2025, 6, 1, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)
OUTAGE = Outage(host="w", since=NOW, why="no route", next_try=LATER)
OURS = LockHolder("jfr-mp/node1:5:a/b", NOW, "node1:5:a", "transfer-1", alive=True)
DEAD = LockHolder("jfr-mp/node1:5:a/b", NOW, "node1:5:a")
FOREIGN = LockHolder("0b0cdf24-95ca-4b3f-8f0c-b6d39a6c7a1f", NOW)
TOLERANT = (JobState.COMPLETED, JobState.FAILED)


def job(state: str, **fields: Any) -> JobInfo:
    return JobInfo(uuid="u", index=1, db_id="7", worker="w", state=JobState[state], name="relax", **fields)


def remote(**fields: Any) -> dict[str, Any]:
    return {"remote": fields}


def parent(state: str) -> Parent:
    return Parent("p", "6", "prep", JobState[state])


@pytest.mark.parametrize(
    ("facts", "reasons"),
    [
        # What rests until a person moves it
        ({"job": job("COMPLETED")}, [("its output is stored", "nothing to do")]),
        ({"job": job("FAILED", error="Traceback\n\nValueError: bad")}, [("failed: ValueError: bad", "queue-out 7")]),
        (
            {"job": job("REMOTE_ERROR", previous_state="UPLOADED", **remote(step_attempts=3, error="no such qos"))},
            [("the step submit failed 3 times and is not tried again: no such qos", "`jfr-mp job retry 7`")],
        ),
        ({"job": job("PAUSED")}, [("paused", "`jfr-mp job resume 7`")]),
        ({"job": job("STOPPED")}, [("a job of its flow stopped it", "`jfr-mp job resume 7`")]),
        ({"job": job("USER_STOPPED")}, [("somebody stopped it", "`jfr-mp job resume 7`")]),
        # What waits for parents
        (
            {"job": job("WAITING"), "parents": (parent("RUNNING"),)},
            [("waits for job 6 (prep), which is RUNNING", "jfr-mp job explain 6")],
        ),
        ({"job": job("WAITING"), "parents": (parent("FAILED"),)}, [("which is FAILED", "for ever, unless")]),
        (
            {"job": job("WAITING"), "parents": (parent("FAILED"), parent("READY")), "enough": TOLERANT},
            [("which is READY", "explain 6")],
        ),
        ({"job": job("WAITING"), "parents": (Parent("p"),)}, [("the job p, which is not there", "submit it again")]),
        ({"job": job("WAITING"), "parents": (parent("COMPLETED"),)}, [("cut off", "jfr-mp admin reconcile")]),
        # Who has it
        ({"job": job("CHECKED_OUT"), "lock": OURS}, [("transfer-1 (node1:5:a) works on it", "it ends soon")]),
        ({"job": job("CHECKED_OUT"), "lock": DEAD}, [("not heard of any more", "jfr-mp admin reconcile")]),
        ({"job": job("CHECKED_OUT"), "lock": FOREIGN}, [("jobflow-remote or a tool", "--break-locks")]),
        ({"job": job("DOWNLOADED"), "flow_lock": OURS}, [("works on its flow", "it ends soon")]),
        ({"job": job("READY"), "flow_lock": OURS}, [("the next step, checkout, is to reserve", "checkout does it")]),
        # Who does not do it
        ({"job": job("READY"), "roles": frozenset()}, [("nothing is running that moves jobs", "`jfr-mp start`")]),
        (
            {"job": job("UPLOADED"), "roles": frozenset({Role.TRANSFER})},
            [("no process with the role queue", "`jfr-mp start --queue`")],
        ),
        ({"job": job("UPLOADED"), "worker_known": False}, [("no worker w", "put it back")]),
        # What it waits for
        ({"job": job("RUN_FINISHED"), "outage": OUTAGE}, [("is away since", "no attempt is spent")]),
        (
            {"job": job("UPLOADED", **remote(error="no route")), "outage": OUTAGE},
            [("is away since", "`jfr-mp project check` tests the worker")],
        ),
        (
            {"job": job("UPLOADED", **remote(step_attempts=1, error="busy", retry_time_limit=LATER))},
            [("attempt 1 of the step submit: busy", "it is tried again at")],
        ),
        (
            {"job": job("UPLOADED", **remote(error="site limit", retry_time_limit=LATER))},
            [("the step submit was put off: site limit", "it is tried again at")],
        ),
        (
            {"job": job("UPLOADED", **remote(step_attempts=2, error="busy", retry_time_limit=NOW))},
            [("attempt 2", "the next try is due")],
        ),
        ({"job": job("UPLOADED"), "max_jobs": 4, "in_queue": 4}, [("has 4 jobs in its scheduler", "max_jobs")]),
        ({"job": job("UPLOADED"), "max_jobs": 4, "in_queue": 3}, [("the next step, submit", "queue does it soon")]),
        (
            {"job": job("RUNNING", **remote(process_id="123")), "scheduler": "RUNNING (R)"},
            [("the scheduler says of 123: RUNNING (R)", "its end is seen as soon as")],
        ),
        ({"job": job("BATCH_SUBMITTED")}, [("waits in the pool", "max_jobs")]),
        (
            {"job": job("BATCH_SUBMITTED", **remote(error="batch 5 ended"))},
            [("batch 5 ended", "jfr-mp project check"), ("waits in the pool", "max_jobs")],
        ),
        ({"job": job("BATCH_RUNNING"), "outage": OUTAGE}, [("is away", "tried again"), ("runs in an", "its end")]),
        # Several at once, in the order in which they matter
        (
            {"job": job("RUNNING", **remote(process_id="1")), "lock": DEAD, "outage": OUTAGE, "scheduler": "no answer"},
            [("not heard of", "reconcile"), ("is away", "tried again"), ("no answer", "see above")],
        ),
    ],
    ids=lambda value: value["job"].state.name if isinstance(value, dict) else None,
)
def test_reasons(facts: dict[str, Any], reasons: list[tuple[str, str]]) -> None:
    found = explain(Facts(now=NOW, **facts))

    assert len(found) == len(reasons), found
    for reason, (why, cure) in zip(found, reasons, strict=True):
        assert why in reason.why
        assert cure in reason.cure


@pytest.mark.parametrize("state", list(JobState))
def test_every_state_has_a_reason(state: JobState) -> None:
    assert explain(Facts(job=job(state.name), now=NOW))
