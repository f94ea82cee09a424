"""What the evidence about a submitted job means."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from jfr_mp.model import JobRecord
from jfr_mp.outcomes import Advance
from jfr_mp.schedulers.journal import journal_path
from jfr_mp.sites.site import WorkerSite
from jfr_mp.states import JobState
from jfr_mp.steps.poll import Evidence, Watch, decide
from tests.support.sites import local_site, remote_site

UUID = "01234567-89ab-cdef-0123-456789abcdef"
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


def test_lines_that_come_after_the_end_of_a_submission_are_dropped(tmp_path: Path) -> None:
    # Given a job whose end the scheduler told before its lines were read
    site = local_site(work_dir=tmp_path)
    watch = Watch(site)
    fields = {"uuid": UUID, "index": 1, "db_id": "1", "worker": "w", "state": "RUNNING"}
    ended = JobRecord.model_validate({**fields, "remote": {"submission": "01234567"}})
    watch.settled(ended, over=True)

    # When they are read at last, beside those of another submission of the same job
    journal = Path(journal_path(tmp_path))
    journal.parent.mkdir()
    seconds = datetime.now(UTC).timestamp()
    with journal.open("a") as file:
        file.writelines(f"end {UUID}_1 {submission} {seconds}\n" for submission in ("01234567", "89abcdef"))

    # Then only the other one counts
    assert watch.follow() == {(UUID, 1)}
    assert watch.news_of(ended) is None


@pytest.mark.parametrize("hours", [-2, 2])
def test_the_clock_of_a_worker_may_be_wrong(tmp_path: Path, hours: int) -> None:
    # Given the journal of a worker whose clock is hours behind or ahead, with the end of an old job
    now = 1000.0
    watch = Watch(local_site(work_dir=tmp_path), lambda: now)
    journal = Path(journal_path(tmp_path))
    journal.parent.mkdir()
    seconds = datetime.now(UTC).timestamp() + 3600 * hours
    old = UUID.replace("0", "1")
    journal.write_text(f"end {old}_1 89abcdef {seconds - 300}\nend {UUID}_1 01234567 {seconds}\n")
    # Then the end of the other one is noticed at once
    assert watch.follow() == {(UUID, 1)}
    # and forgotten after a while
    now += 61
    assert watch.follow() == set()


def test_of_a_short_job_only_the_end_is_written(tmp_path: Path) -> None:
    # Given two jobs that have started, of which one ends soon
    now = 1000.0
    watch = Watch(local_site(work_dir=tmp_path), lambda: now)
    journal = Path(journal_path(tmp_path))
    journal.parent.mkdir()
    other, seconds = UUID.replace("0", "1"), datetime.now(UTC).timestamp()
    journal.write_text(f"start {UUID}_1 01234567 {seconds}\nstart {other}_1 89abcdef {seconds}\n")
    assert watch.follow() == set()
    with journal.open("a") as file:
        file.write(f"end {UUID}_1 01234567 {seconds}\n")
    assert watch.follow() == {(UUID, 1)}

    # When the other one goes on, then it is written that it is running
    now += 1.0
    assert watch.follow() == {(UUID, 1), (other, 1)}
