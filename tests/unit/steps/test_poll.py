"""What the evidence about a submitted job means."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from jfr_mp.model import JobRecord
from jfr_mp.outcomes import Advance
from jfr_mp.sites.site import WorkerSite
from jfr_mp.states import JobState
from jfr_mp.steps.poll import Evidence, decide
from tests.support.sites import local_site, remote_site

STARTED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def job(state: JobState) -> JobRecord:
    return JobRecord(uuid="u", index=1, db_id="1", worker="w", state=state)


@pytest.mark.parametrize("state", [JobState.SUBMITTED, JobState.RUNNING])
@pytest.mark.parametrize(
    ("site", "target"),
    [(local_site(), JobState.DOWNLOADED), (remote_site(), JobState.RUN_FINISHED)],
    ids=["local", "remote"],
)
def test_a_job_that_ended_goes_on_to_its_output(state: JobState, site: WorkerSite, target: JobState) -> None:
    outcome = decide(job(state), Evidence(ended=True, queue_state="DONE"), site)
    assert outcome == Advance(target, {"remote.queue_state": "DONE"})


def test_the_output_of_a_slow_file_system_is_given_time() -> None:
    outcome = decide(job(JobState.RUNNING), Evidence(ended=True), remote_site(delay_download=30))
    assert isinstance(outcome, Advance)
    assert outcome.next_step_delay == 30


def test_a_job_that_started_is_running() -> None:
    outcome = decide(job(JobState.SUBMITTED), Evidence(started_at=STARTED, queue_state="RUNNING"), local_site())
    assert outcome == Advance(JobState.RUNNING, {"remote.queue_state": "RUNNING", "start_time": STARTED})


@pytest.mark.parametrize(
    ("state", "evidence"),
    [
        (JobState.SUBMITTED, Evidence()),
        (JobState.SUBMITTED, Evidence(queue_state="QUEUED")),
        (JobState.RUNNING, Evidence(started_at=STARTED, queue_state="RUNNING")),
    ],
    ids=["no news", "still queued", "known to run"],
)
def test_other_evidence_changes_nothing(state: JobState, evidence: Evidence) -> None:
    assert decide(job(state), evidence, local_site()) is None
