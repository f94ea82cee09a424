"""What is wrong with a flow, as a table."""

from __future__ import annotations

from typing import Any

import pytest

from jfr_mp.database.diagnosis import Diagnosis, diagnose
from jfr_mp.states import FlowState

TOLERANT = {"config": {"on_missing_references": "none"}}


def _job(uuid: str, state: str, *parents: str, index: int = 1, **fields: Any) -> dict[str, Any]:
    return {
        "_id": f"{uuid}{index}",
        "uuid": uuid,
        "index": index,
        "db_id": f"{uuid}{index}",
        "state": state,
        "parents": list(parents),
        "lock_id": None,
        **fields,
    }


def _flow(state: str, *listed: str) -> dict[str, Any]:
    ids = [[name, name[:-1], int(name[-1])] for name in listed]
    return {"uuid": "flow", "state": state, "jobs": [uuid for _, uuid, _ in ids], "ids": ids}


@pytest.mark.parametrize(
    ("flow", "jobs", "ready", "unlisted", "missing", "state"),
    [
        pytest.param(
            _flow("RUNNING", "a1", "b1"), [_job("a", "RUNNING"), _job("b", "WAITING", "a")], [], [], [], None, id="well"
        ),
        pytest.param(
            _flow("RUNNING", "a1", "b1"),
            [_job("a", "COMPLETED"), _job("b", "WAITING", "a")],
            *(["b1"], [], [], None),
            id="a child waits for nothing",
        ),
        pytest.param(
            _flow("RUNNING", "a1", "b1"),
            [_job("a", "COMPLETED"), _job("b", "WAITING", "a", lock_id="somebody")],
            *([], [], [], None),
            id="somebody has it",
        ),
        pytest.param(
            _flow("RUNNING", "a1", "b1", "c1"),
            [_job("a", "FAILED"), _job("b", "WAITING", "a", job=TOLERANT), _job("c", "READY")],
            *(["b1"], [], [], FlowState.FAILED),
            id="a child that takes a failed parent",
        ),
        pytest.param(
            _flow("FAILED", "a1", "b1"),
            [_job("a", "FAILED"), _job("b", "WAITING", "a")],
            *([], [], [], None),
            id="a child that does not",
        ),
        pytest.param(
            _flow("RUNNING", "a1", "a2", "b1"),
            [_job("a", "COMPLETED"), _job("a", "READY", index=2), _job("b", "WAITING", "a")],
            *([], [], [], None),
            id="the parent was replaced and the replacement is not done",
        ),
        pytest.param(
            _flow("RUNNING", "a1", "b1"),
            [_job("a", "COMPLETED"), _job("b", "WAITING", "a", "nowhere")],
            *([], [], [], None),
            id="a parent that is not there",
        ),
        pytest.param(
            _flow("RUNNING", "a1"),
            [_job("a", "COMPLETED"), _job("a", "READY", index=2)],
            *([], ["a2"], [], None),
            id="a job that is not listed",
        ),
        pytest.param(
            _flow("RUNNING", "a1", "b1"), [_job("a", "READY")], [], [], ["b1"], FlowState.READY, id="a lost job"
        ),
        pytest.param(
            _flow("RUNNING", "a1", "a2"),
            [_job("a", "DOWNLOADED")],
            *([], [], [], None),
            id="a completion that will be repeated",
        ),
        pytest.param(
            _flow("RUNNING", "a1"), [_job("a", "COMPLETED")], [], [], [], FlowState.COMPLETED, id="a stale state"
        ),
    ],
)
def test_diagnosis(
    flow: dict[str, Any],
    jobs: list[dict[str, Any]],
    ready: list[str],
    unlisted: list[str],
    missing: list[str],
    state: FlowState | None,
) -> None:
    found = diagnose(flow, jobs)
    assert [job["_id"] for job in found.ready] == ready
    assert [job["_id"] for job in found.unlisted] == unlisted
    assert (list(found.missing), found.state) == (missing, state)
    assert bool(found) == bool(ready or unlisted or missing or state)


def test_a_flow_without_jobs() -> None:
    assert diagnose(_flow("READY", "a1"), []) == Diagnosis(empty=True)


def test_a_flow_that_lists_no_names_says_nothing() -> None:
    damaged = {**_flow("READY", "a1"), "jobs": [{"uuid": "a"}]}
    assert diagnose(damaged, [_job("a", "COMPLETED")]) == Diagnosis()
