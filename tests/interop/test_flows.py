"""Whoever submits a flow and whoever runs it: what the database holds in the end is the same.

Each way of running all flows happens once; then the documents of each flow are compared, field by field, with those of
a run in which only jobflow-remote took part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from jfr_mp import submit_flow
from tests.interop.documents import differences, flows_of, is_at_rest
from tests.interop.flows import FLOWS, submit_all
from tests.support.peer import Peer
from tests.support.processes import Processes, run_cli
from tests.support.projects import TestProject
from tests.support.waiting import wait_until

# The first test of a way waits for all flows of that way, and of the reference.
pytestmark = pytest.mark.timeout(600)

#: What both run side by side.
DYNAMIC = ("all at once", "nested")

#: Seconds in which all flows are done, even where two cores are busy with other things.
PATIENCE = 240.0

#: A way of running all flows, or some.
Way = Callable[[Peer, Processes], None]


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


#: The ways in which both packages have a part, and the flows that are run in each.
WAYS: Mapping[Way, Iterable[str]] = {
    peer_submits_we_run: FLOWS,
    we_submit_peer_runs: FLOWS,
    both_run_we_begin: DYNAMIC,
    both_run_peer_begins: DYNAMIC,
}


@pytest.fixture(scope="module")
def run_by(
    make_history: Callable[[], TestProject], peer_python: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Way], Mapping[str, Any]]:
    """Runs all flows in one way, the first time that it is asked, and returns their documents."""

    @cache
    def history(way: Way) -> Future[Mapping[str, Any]]:
        outcome: Future[Mapping[str, Any]] = Future()
        project = make_history()
        processes = Processes(tmp_path_factory.mktemp("processes"))
        try:
            way(Peer(peer_python, project), processes)
            outcome.set_result(flows_of(project))
        except Exception as error:  # noqa: BLE001 - the same for all tests that want these documents
            outcome.set_exception(error)
        finally:
            processes.end_all()
        return outcome

    return lambda way: history(way).result()


@pytest.fixture
def reference(run_by: Callable[[Way], Mapping[str, Any]]) -> Mapping[str, Any]:
    """What the peer alone makes of the flows."""
    return run_by(only_peer)


@pytest.mark.parametrize(
    ("way", "name"),
    [pytest.param(way, name, id=f"{way.__name__}-{name}") for way, names in WAYS.items() for name in names],
)
def test_documents_are_those_of_a_run_by_the_peer_alone(
    way: Way, name: str, run_by: Callable[[Way], Mapping[str, Any]], reference: Mapping[str, Any]
) -> None:
    # Given the documents of a flow, of its jobs and of their outputs where both packages worked on it,
    # and of the same flow run by the peer alone, then there is no field in which they differ
    assert differences(run_by(way)[name], reference[name]) == []


def test_the_flows_are_what_they_are_called(reference: Mapping[str, Any]) -> None:
    # Then the flows that are compared did get where they were to get
    unfinished = {"failure", "stop children", "stop jobflow", "replace and stop"}
    states = {name: reference[name]["flow"]["state"] for name in FLOWS}
    assert {name for name, state in states.items() if state != "COMPLETED"} == unfinished
    assert [job["state"] for job in reference["nested"]["jobs"].values()] == ["COMPLETED"] * 8
