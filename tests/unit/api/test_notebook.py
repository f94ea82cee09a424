"""Jobs and flows as notebooks show them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from jfr_mp.api.documents import FlowInfo, JobInfo
from jfr_mp.states import FlowState, JobState

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def job(db_id: str, state: JobState, **fields: Any) -> JobInfo:
    return JobInfo(uuid=f"u{db_id}", index=1, db_id=db_id, worker="local", state=state, name=f"<{db_id}>", **fields)


def test_a_job_is_a_table_of_escaped_text() -> None:
    shown = job("7", JobState.FAILED, error="<script>\x1b[31m", start_time=NOW, end_time=NOW)._repr_html_()
    assert "<b>Job 7</b> &lt;7&gt;" in shown
    assert "FAILED" in shown
    assert "0.0 s" in shown
    assert "&lt;script&gt;" in shown
    assert "\x1b" not in shown
    assert "Directory" not in shown


def test_a_flow_is_a_list_of_its_first_jobs() -> None:
    jobs = [job(str(n), JobState.COMPLETED) for n in range(39)] + [job("39", JobState.RUNNING)]
    ids = [each.db_id for each in jobs]
    fields = {"db_ids": ids, "job_ids": [each.uuid for each in jobs], "job_indexes": [1] * 40, "flow_id": "f"}
    fields |= {"state": FlowState.RUNNING, "name": "a & b", "created_on": NOW, "updated_on": NOW}
    shown = FlowInfo(**fields, jobs_info=jobs, job_states=[each.state for each in jobs])._repr_html_()
    assert shown.startswith("<b>Flow</b> a &amp; b")
    assert "39 <span" in shown
    assert "and 10 more" in shown
    # Without its jobs, it is one line
    assert "<table>" not in FlowInfo(**fields)._repr_html_()
