"""The main job: flows of every kind go through a running master and end in the right states with the right outputs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from unittest.mock import ANY

import pytest

from tests.support.jobs import ledger_lines
from tests.support.user import Submitted, User

pytestmark = pytest.mark.timeout(300)

COMPLETED, STOPPED, FAILED = "COMPLETED", "STOPPED", "FAILED"


@dataclass(frozen=True)
class Case:
    """A flow, and what becomes of it.

    Parameters
    ----------
    expression, setup
        The flow as `User.submit` takes it.
    outputs
        The outputs of all jobs in the order of their ids, the created ones included; None for one that has none.
    states
        Their states; all are COMPLETED by default.
    flow_state
        The state of the flow.
    """

    expression: str
    outputs: list[object]
    setup: str = ""
    states: list[str] | None = None
    flow_state: str = COMPLETED


CASES = {
    "a single job": Case("add(1, 2)", [3]),
    "a chain": Case("chain(3)", [0, 1, 2]),
    "flows in flows": Case(
        "Flow([Flow([a, b]), Flow([Flow([c])])])",
        [3, 6, 9],
        setup="a = add(1, 2); b = add(a.output, 3); c = total([a.output, b.output])",
    ),
    "a job that replaces itself": Case(
        # By id: the job, its child, then the new ones.
        "Flow([r, add(r.output, 1)])",
        # What is stored under its uuid is a reference to the result, which its child has resolved.
        [None, 4, 1, 2, 3, ANY],
        setup="r = replace_with([1, 2])",
    ),
    "a detour, for which the children wait": Case("Flow([d, add(d.output, 1)])", [5, 6, 15], setup="d = detour(5)"),
    "an addition": Case("Flow([a, add(a.output, 1)])", [5, 6, 105], setup="a = addition(5)"),
    "a job that stops its children": Case(
        "Flow([s, child, add(child.output), add(3, 4)])",
        [1, None, None, 7],
        setup="s = stops_children(1); child = add(s.output)",
        # As in jobflow-remote, a grandchild is left waiting for the child.
        states=[COMPLETED, STOPPED, "WAITING", COMPLETED],
        flow_state=STOPPED,
    ),
    "a failed job whose child goes on without its output": Case(
        "Flow([r, child])",
        [None, 0],
        setup="r = raises(); child = link(r.output); child.config = JobConfig(on_missing_references='none')",
        states=[FAILED, COMPLETED],
    ),
    "a failed job and its child": Case(
        "Flow([r, link(r.output)])",
        [None, None],
        setup="r = raises()",
        states=[FAILED, "WAITING"],
        flow_state=FAILED,
    ),
}


@pytest.fixture(scope="module")
def submitted(busy: User) -> dict[str, Submitted]:
    """The flows of all cases, which run side by side."""
    return {name: busy.submit(case.expression, setup=case.setup) for name, case in CASES.items()}


@pytest.mark.parametrize("name", CASES)
def test_jobs_end_in_the_right_states_with_the_right_outputs(submitted: dict[str, Submitted], name: str) -> None:
    # Given a flow that was submitted to a running master
    case, flow = CASES[name], submitted[name]

    # When it ends
    flow.wait_for(case.flow_state)
    flow.wait_for_states(case.states or [COMPLETED] * len(case.outputs))

    # Then every job of it, created ones included, is as it should be
    assert flow.outputs == case.outputs


def test_stop_jobflow_stops_what_is_not_in_the_queue_yet(busy: User, tmp_path: Path) -> None:
    # Given a flow with a job that runs until we say so, a child of it, and a job that stops the whole flow
    gate = tmp_path / "gate"
    flow = busy.submit(
        "Flow([slow, child, s])",
        setup=f"slow = waits_for({str(gate)!r}, 1); child = add(slow.output); s = stops_jobflow(2)",
    )

    # When the last one has ended, and then the first
    flow.wait_for_job(COMPLETED, number=2)
    gate.touch()
    flow.wait_for_job(COMPLETED)

    # Then the child, no relative of the one that stopped the flow, never ran
    assert flow.states == [COMPLETED, STOPPED, COMPLETED]
    assert flow.wait_for(STOPPED).outputs == [1, None, 2]


def test_stored_data_is_kept_on_the_job(busy: User) -> None:
    flow = busy.submit("stores_data(7)").wait_for(COMPLETED)
    assert flow.outputs == [7]
    assert busy.json("job", "info", flow.db_ids[0])["stored_data"] == {"value": 7}


@pytest.mark.parametrize("store", ["outputs", "archive"])
def test_outputs_go_to_the_chosen_jobstore_and_its_additional_store(busy: User, store: str) -> None:
    # Given the default JobStore, or an optional one
    options = ["--jobstore", store] if store != "outputs" else []
    other = {"outputs": "archive", "archive": "outputs"}[store]

    # When a job with a large output, and a child that needs the output of another, end
    flow = busy.submit("Flow([stores_megabytes(0.1), a, add(a.output, 1)])", *options, setup="a = add(1, 1)")
    flow.wait_for(COMPLETED)

    # Then small outputs are in the main store, the large part in the additional one, and nothing in the other JobStore
    large, *small = flow.jobs
    assert [flow.output(job, store) for job in small] == [2, 3]
    assert flow.output(large, store)["blob"]["store"] == "data"
    blobs = busy.project.db[f"{store}_data"].find({"job_uuid": large["uuid"]})
    assert [blob["data"] for blob in blobs] == ["x" * 100_000]
    assert [flow.output(job, other) for job in flow.jobs] == [None] * 3


def test_exec_config_is_set_around_the_job(busy: User) -> None:
    flow = busy.submit("add(1, 1)", "--exec-config", "greeting").wait_for(COMPLETED)
    assert Path(flow.job()["run_dir"], "said").read_text() == f"it's {busy.project.env['HOME']}"


def test_priority_and_worker_of_a_flow_are_on_its_jobs(busy: User) -> None:
    flow = busy.submit("chain(2)", "--priority", "3", "--worker", "local").wait_for(COMPLETED)
    assert [(job["worker"], job["priority"]) for job in flow.jobs] == [("local", 3)] * 2


def test_jobs_run_once_each(busy: User, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger"
    flow = busy.submit(f"Flow([writes_ledger({str(ledger)!r}, str(n)) for n in range(6)])").wait_for(COMPLETED)
    assert ledger_lines(ledger) == [str(n) for n in range(6)]
    assert flow.outputs == ledger_lines(ledger)
