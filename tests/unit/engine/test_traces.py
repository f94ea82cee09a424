"""The spans of jobs, and when there are none."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jfr_mp.engine.traces import Traces, TraceSpan
from jfr_mp.model import JobDoc
from jfr_mp.outcomes import Advance, Completion, Fail, Outcome, Retry
from jfr_mp.states import JobState
from jfr_mp.step_table import UPLOAD

NOW = datetime.now(UTC)


class Kept:
    """A sink that keeps what it takes, or fails."""

    def __init__(self, error: Exception | None = None) -> None:
        self.spans: list[TraceSpan] = []
        self._error = error

    def take(self, span: TraceSpan) -> None:
        if self._error is not None:
            raise self._error
        self.spans.append(span)

    def close(self) -> None:
        """Do nothing."""


def a_job(state: JobState = JobState.CHECKED_OUT, **fields: Any) -> JobDoc:
    known = {
        "uuid": "u",
        "index": 2,
        "db_id": "7",
        "worker": "far",
        "job": {"name": "relax", "hosts": ["inner", "flow"]},
    }
    times = {"created_on": NOW - timedelta(hours=1), "updated_on": NOW - timedelta(minutes=1)}
    return JobDoc.model_validate({**known, **times, "state": state, **fields})


def spans_of(job: JobDoc, outcome: Outcome) -> list[TraceSpan]:
    sink = Kept()
    Traces(sink, {"far": "login.example"}, lambda _job: "flow").state(job, outcome)
    return sink.spans


def test_a_step_lies_in_the_stay_in_the_state_from_which_it_takes_the_job() -> None:
    sink = Kept()
    traces = Traces(sink, {"far": "login.example"}, lambda _job: "flow")
    outcome = Advance(JobState.UPLOADED)
    traces.step(UPLOAD, a_job(), outcome, 3.0)
    traces.state(a_job(), outcome)
    step, stay = sink.spans
    assert (step.name, stay.name) == ("upload", "CHECKED_OUT")
    assert step.trace_id == stay.trace_id
    assert step.parent_id == stay.span_id
    assert step.end - step.begin == timedelta(seconds=3)
    assert stay.begin == NOW - timedelta(minutes=1)
    assert step.attributes["jfr_mp.step"] == "upload"
    assert step.attributes["jfr_mp.worker.host"] == "login.example"
    assert step.attributes["jfr_mp.flow.uuid"] == "flow"


def test_a_flow_that_cannot_be_looked_up_is_left_out() -> None:
    def fails(_job: JobDoc) -> str:
        raise OSError("gone")

    sink = Kept()
    Traces(sink, flow_of=fails).state(a_job(), Advance(JobState.UPLOADED))
    assert "jfr_mp.flow.uuid" not in sink.spans[0].attributes


@pytest.mark.parametrize(
    ("outcome", "names", "error"),
    [
        (Advance(JobState.UPLOADED), ["CHECKED_OUT"], None),
        (Retry("no room\nfor it"), ["CHECKED_OUT"], "for it"),
        (Fail("never"), ["CHECKED_OUT", "relax"], "never"),
        (Completion(JobState.COMPLETED, start_time=NOW, end_time=NOW), ["CHECKED_OUT", "run", "relax"], None),
        (Completion(JobState.FAILED, error="Traceback\nKeyError: 1"), ["CHECKED_OUT", "relax"], "KeyError: 1"),
    ],
)
def test_the_root_is_made_when_the_job_ends(outcome: Outcome, names: list[str], error: str | None) -> None:
    spans = spans_of(a_job(), outcome)
    assert [span.name for span in spans] == names
    assert {span.error for span in spans} == {error}
    if names[-1] == "relax":
        assert spans[-1].parent_id is None
        assert {span.parent_id for span in spans[:-1]} == {spans[-1].span_id}
        assert spans[-1].begin == NOW - timedelta(hours=1)


def test_each_job_and_each_index_of_it_is_a_trace_of_its_own() -> None:
    jobs = [a_job(), a_job(index=3), a_job(uuid="v"), a_job(state=JobState.DOWNLOADED)]
    first, rerun, other, later = (spans_of(job, Fail("x"))[-1] for job in jobs)
    assert len({first.trace_id, rerun.trace_id, other.trace_id}) == 3
    assert (first.trace_id, first.span_id) == (later.trace_id, later.span_id)


def test_attempts_are_told_apart() -> None:
    first, second = a_job(), a_job(updated_on=NOW, remote={"step_attempts": 1})
    (early,), (late,) = (spans_of(job, Retry("x")) for job in (first, second))
    assert early.span_id != late.span_id
    assert (early.attributes["jfr_mp.attempt"], late.attributes["jfr_mp.attempt"]) == (1, 2)


def test_a_sink_that_fails_stops_no_step() -> None:
    traces = Traces(Kept(OSError("gone")))
    traces.step(UPLOAD, a_job(), Advance(JobState.UPLOADED), 1.0)
    traces.state(a_job(), Fail("x"))


def test_nothing_is_imported_without_a_collector() -> None:
    # Given a process that plays a role in a project without a collector
    script = (
        "import sys; import jfr_mp.role_process; from jfr_mp.engine.traces import NO_TRACES, open_traces;"
        "from jfr_mp.config.options import JfrMpOptions; from types import SimpleNamespace as N;"
        "assert open_traces(N(jfr_mp=JfrMpOptions()), 'queue-1') is NO_TRACES;"
        "print([name for name in sys.modules if name.startswith('opentelemetry')])"
    )
    for environment in ({}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"}):
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
        )
        assert done.stdout.strip() == "[]"
