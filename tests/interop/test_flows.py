"""Whoever submits a flow and whoever runs it: what the database holds in the end is the same.

Each way of running all flows happens once; then the documents of each flow are compared, field by field, with those of
a run in which only jobflow-remote took part.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from jfr_mp import submit_flow
from jfr_mp.states import JobState
from tests.interop.documents import flows_of, is_at_rest
from tests.interop.flows import FLOWS, submit_all
from tests.support.peer import Peer
from tests.support.processes import Processes, run_cli
from tests.support.projects import TestProject
from tests.support.waiting import wait_until

#: What both run side by side.
DYNAMIC = ("all at once", "nested")

#: Seconds in which all flows are done, on two cores.
PATIENCE = 150.0


def only_peer(peer: Peer, processes: Processes) -> None:
    peer.tool("prepare")
    peer.tool("submit")
    peer.tool("run_all")


def peer_submits_we_run(peer: Peer, processes: Processes) -> None:
    peer.tool("prepare")
    peer.tool("submit")
    _run(peer, processes, ours=())


def we_submit_peer_runs(peer: Peer, processes: Processes) -> None:
    submit_all(submit_flow, FLOWS)
    peer.tool("run_all")


def both_run_we_begin(peer: Peer, processes: Processes) -> None:
    submit_all(submit_flow, DYNAMIC)
    _run(peer, processes, ours=("--checkout", "--transfer"), theirs=("-q", "-com"))


def both_run_peer_begins(peer: Peer, processes: Processes) -> None:
    submit_all(submit_flow, DYNAMIC)
    _run(peer, processes, ours=("--queue", "--complete"), theirs=("-cho", "-t"))


def _run(peer: Peer, processes: Processes, ours: tuple[str, ...], theirs: tuple[str, ...] | None = None) -> None:
    """Run everything by our processes, and by the peer's runner where it gets a part, until nothing moves."""
    with ExitStack() as stack:
        if theirs:
            process = processes.start(peer.command("runner", "run", *theirs), env=peer.env)
            stack.callback(process.terminate)
        started = run_cli("start", *ours, env=peer.project.env)
        assert started.returncode == 0, started.stderr
        stack.callback(run_cli, "stop", env=peer.project.env)
        wait_until(lambda: is_at_rest(peer.project), PATIENCE, "the end of all flows")


@pytest.fixture(scope="module")
def run_history(
    make_history: Callable[[], TestProject], peer_python: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Callable[[Peer, Processes], None]], Mapping[str, Any]]:
    """Runs all flows in one way and returns their documents."""

    def run_it(way: Callable[[Peer, Processes], None]) -> Mapping[str, Any]:
        project = make_history()
        processes = Processes(tmp_path_factory.mktemp("processes"))
        try:
            way(Peer(peer_python, project), processes)
        finally:
            processes.end_all()
        return flows_of(project)

    return run_it


@pytest.fixture(scope="module")
def reference(run_history: Callable[..., Mapping[str, Any]]) -> Mapping[str, Any]:
    """What the peer alone makes of the flows."""
    return run_history(only_peer)


WAYS = {
    peer_submits_we_run: FLOWS,
    we_submit_peer_runs: FLOWS,
    both_run_we_begin: DYNAMIC,
    both_run_peer_begins: DYNAMIC,
}


@pytest.fixture(scope="module")
def crossed(request: pytest.FixtureRequest, run_history: Callable[..., Mapping[str, Any]]) -> Mapping[str, Any]:
    """What becomes of the flows where both packages have a part."""
    return run_history(request.param)


@pytest.mark.parametrize(
    ("crossed", "name"),
    [pytest.param(way, name, id=f"{way.__name__}-{name}") for way, names in WAYS.items() for name in names],
    indirect=["crossed"],
)
def test_documents_are_those_of_a_run_by_the_peer_alone(
    crossed: Mapping[str, Any], name: str, reference: Mapping[str, Any]
) -> None:
    # Given the documents of a flow that both packages worked on, and of the same flow run by the peer alone
    ours, theirs = crossed[name], reference[name]
    # Then the same jobs ended in the same states
    assert _states(ours) == _states(theirs)
    # And every field of the flow, its jobs and their outputs is the same
    assert ours["flow"] == theirs["flow"]
    assert ours["jobs"] == theirs["jobs"]
    assert ours["outputs"] == theirs["outputs"]


def test_the_flows_are_what_they_are_called(reference: Mapping[str, Any]) -> None:
    # Then the flows that are compared did get where they were to get
    unfinished = {"failure", "stop children", "stop jobflow", "replace and stop"}
    states = {name: reference[name]["flow"]["state"] for name in FLOWS}
    assert {name for name, state in states.items() if state != "COMPLETED"} == unfinished
    assert set(_states(reference["nested"]).values()) == {JobState.COMPLETED.value}
    assert len(_states(reference["nested"])) == 8


def _states(flow: Mapping[str, Any]) -> dict[str, str]:
    return {name: job["state"] for name, job in flow["jobs"].items()}
