"""Traces of jobs, sent to a real collector: one that works, and those that do not."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from jfr_mp.errors import ExitCode
from tests.acceptance.conftest import NewUser
from tests.support.collector import Collector, Received
from tests.support.processes import free_port
from tests.support.user import User
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(180)

SECRET = "s3cr3t-of-the-collector"
HEADERS = "OTEL_EXPORTER_OTLP_HEADERS"
FAST = {HEADERS: f"authorization=Bearer%20{SECRET}", "OTEL_BSP_SCHEDULE_DELAY": "100"}


def with_variables(user: User, **variables: str) -> User:
    """Return the same user with more variables in the environment."""
    return User(dataclasses.replace(user.project, env={**user.project.env, **variables}), user.desk)


def logs(user: User) -> str:
    """Return everything that the role processes have logged; the log of the master repeats the ends of their logs."""
    return "".join(path.read_text() for path in user.project.base_dir.rglob("*-1.log"))


def test_a_job_is_one_trace_whose_spans_are_its_states_and_steps(new_user: NewUser) -> None:
    with Collector() as collector:
        # Given a project with a collector, whose secret is in the environment of the master
        user = with_variables(new_user(metadata={"jfr_mp": {"otel": {"endpoint": collector.url}}}), **FAST)
        user.start()
        # When a job succeeds, one asks for the secret, and one fails
        good = user.submit("add(1, 2)").wait_for("COMPLETED")
        curious = user.submit(f"variables([{HEADERS!r}])").wait_for("COMPLETED")
        bad = user.submit("raises()").wait_for("FAILED")
        wait_until(lambda: any(not span.parent for span in collector.of_job(bad.job())), 20, "the last trace")
        user.ok("stop")

    # Then the spans of a job are one trace with one root, which covers them
    job = good.job()
    spans = collector.of_job(job)
    (root,) = [span for span in spans if not span.parent]
    assert {span.trace for span in spans} == {root.trace}
    assert root.trace not in {span.trace for span in collector.of_job(bad.job())}
    assert root.name == "add"
    assert all(root.begin <= span.begin <= span.end <= root.end + 1 for span in spans)
    # its states are parts of the root, its steps are parts of the states from which they took the job
    by_name = {span.name: span for span in spans}
    for step, state in [("checkout", "READY"), ("upload", "CHECKED_OUT"), ("complete", "DOWNLOADED")]:
        assert by_name[state].parent == root.id
        assert by_name[step].parent == by_name[state].id
    assert by_name["run"].parent == root.id
    # and they say where, in which process and for which job
    about = by_name["complete"].attributes
    assert (about["jfr_mp.worker"], about["jfr_mp.attempt"], about["jfr_mp.next_state"]) == ("local", 1, "COMPLETED")
    assert (about["jfr_mp.process"], about["service.name"]) == ("complete-1", "jfr-mp")
    assert (about["jfr_mp.job.db_id"], about["jfr_mp.job.index"]) == (job["db_id"], 1)
    assert about["host.name"]
    assert about["jfr_mp.worker.host"]
    # and what went wrong
    assert {span.error for span in spans} == {None}
    assert "RuntimeError: this job fails" in str(_root(collector, bad.job()).error)
    # The collector got the secret, and neither the logs nor the jobs did
    assert collector.headers["authorization"] == f"Bearer {SECRET}"
    assert curious.outputs == [{}]
    assert SECRET not in logs(user)


def _root(collector: Collector, job: dict[str, object]) -> Received:
    (root,) = [span for span in collector.of_job(job) if not span.parent]
    return root


@contextmanager
def useless_collector(how: str) -> Iterator[str]:
    """Yield the URL of a collector that hangs, refuses or is not there."""
    if how == "gone":
        yield f"http://127.0.0.1:{free_port()}"
        return
    with Collector(status=401) as collector:
        if how == "hangs":
            collector.gate.close()
        yield collector.url


@pytest.mark.parametrize(
    ("how", "why"),
    [("gone", "it does not answer"), ("hangs", "it does not answer"), ("refuses", f"HTTP status 401; see {HEADERS}")],
)
@pytest.mark.timing
def test_jobs_run_and_processes_stop_as_usual_without_the_collector(user: User, how: str, why: str) -> None:
    with useless_collector(how) as url:
        # Given a collector, named by the environment, that takes nothing
        endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_EXPORTER_OTLP_TIMEOUT": "3"}
        user = with_variables(user, **FAST, **endpoint)
        user.start()
        # When jobs run
        flow = user.submit("chain(4)")
        # Then they complete
        assert flow.wait_for("COMPLETED").outputs == [0, 1, 2, 3]
        # each process logs once that spans are lost, with the reason
        wait_until(lambda: logs(user).count(f"takes no spans, which are dropped until it does: {why}") >= 4, 30, why)
        user.submit("add(1)").wait_for("COMPLETED")
        begun = time.monotonic()
        user.ok("stop")
    # and no process waits long for it at its end
    assert time.monotonic() - begun < 20
    assert logs(user).count("takes no spans") == 4
    assert SECRET not in logs(user)


@pytest.mark.parametrize(
    "endpoint", ["https://user:s3cr3t@host:4318", "http://host/?token=s3cr3t", "grpc://host", "4318"]
)
def test_a_wrong_endpoint_is_refused_without_being_shown(new_user: NewUser, endpoint: str) -> None:
    user = new_user(metadata={"jfr_mp": {"otel": {"endpoint": endpoint}}})
    said = user.refused("start", code=ExitCode.CONFIG)
    assert "metadata.jfr_mp.otel.endpoint" in said
    assert "s3cr3t" not in said


def test_a_master_without_the_packages_says_what_to_install(new_user: NewUser, tmp_path: Path) -> None:
    # Given an environment whose opentelemetry is another package
    (tmp_path / "other" / "opentelemetry").mkdir(parents=True)
    (tmp_path / "other" / "opentelemetry" / "__init__.py").touch()
    user = new_user(metadata={"jfr_mp": {"otel": {"endpoint": "http://127.0.0.1:4318"}}})
    path = f"{tmp_path / 'other'}:{user.project.env['PYTHONPATH']}"
    # Then the master does not start
    assert "pip install 'jfr-mp[otel]'" in with_variables(user, PYTHONPATH=path).refused("start", code=ExitCode.CONFIG)
