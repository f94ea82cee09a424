"""The jobs of a flow: their dependencies are those of jobflow, and their order is that of the flow."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobflow import Flow, Job, JobOrder, job

from jfr_mp.database.new_jobs import leaves_of, missing_references, new_jobs_of

LINEAR = JobOrder.LINEAR


@job
def total(*terms: Any) -> int:
    """Return the sum of the terms."""
    return sum(terms)


def named(name: str, *parents: Job) -> Job:
    made: Job = total(*[parent.output for parent in parents])
    made.name = name
    return made


def diamond(order: JobOrder = JobOrder.AUTO) -> Flow:
    a = named("a")
    b, c = named("b", a), named("c", a)
    return Flow([a, b, c, named("d", b, c)], order=order)


def nested() -> Flow:
    a = named("a")
    return Flow([a, Flow([named("b", a), Flow([named("c")])]), named("d")])


def linear() -> Flow:
    return Flow([diamond(), named("x"), diamond(LINEAR), Flow([named("y"), named("z")])], order=LINEAR)


def by_jobflow(flow: Flow) -> dict[str, set[str]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {job.uuid: set(parents) for job, parents in flow.iterflow()}


def by_us(flow: Flow | Job) -> dict[str, set[str]]:
    return {new.job.uuid: set(new.parents) for new in new_jobs_of(flow)}


def names(flow: Flow) -> list[str]:
    return [new.job.name for new in new_jobs_of(flow)]


@pytest.mark.parametrize("make", [diamond, nested, linear])
def test_dependencies_and_leaves_are_those_of_jobflow(make: Callable[[], Flow]) -> None:
    flow = make()
    assert by_us(flow) == by_jobflow(flow)
    leaves = {uuid for uuid, children in flow.graph.out_degree() if not children}
    assert set(leaves_of(new_jobs_of(flow))) == leaves


@given(st.data())
def test_dependencies_are_those_of_jobflow_in_any_flow(data: st.DataObject) -> None:
    # Given a flow with nested flows, in which a job depends on any earlier ones
    jobs: list[Job] = []
    items: list[Flow | Job] = []
    for size in data.draw(st.lists(st.integers(0, 3), min_size=1, max_size=4)):
        inner = []
        for _ in range(size or 1):
            parents = data.draw(st.lists(st.sampled_from(jobs), unique_by=id, max_size=3)) if jobs else []
            inner.append(named(str(len(jobs)), *parents))
            jobs.append(inner[-1])
        items.append(Flow([*inner]) if size else inner[0])
    flow = Flow(items)
    # Then
    assert by_us(flow) == by_jobflow(flow)
    # and the order of the flow is kept, which has parents before children
    assert names(flow) == [job.name for job in jobs]


def test_a_linear_flow_may_hold_a_flow_that_uses_an_earlier_job() -> None:
    # Given a flow of which jobflow says that its jobs depend on each other in a cycle
    a = named("a")
    b = named("b", a)
    flow = Flow([a, Flow([b])], order=LINEAR)
    # Then
    assert by_us(flow) == {a.uuid: set(), b.uuid: {a.uuid}}


def test_parents_come_first_and_otherwise_the_order_is_kept() -> None:
    late = named("late")
    flow = Flow([named("first"), named("child", late), named("third"), late, named("last")])
    assert names(flow) == ["first", "third", "late", "child", "last"]


def test_a_job_is_a_flow_of_one() -> None:
    alone = named("alone")
    assert by_us(alone) == {alone.uuid: set()}
    assert leaves_of(new_jobs_of(alone)) == [alone.uuid]


def test_a_long_chain() -> None:
    jobs = [named("0")]
    for number in range(1, 3000):
        jobs.append(named(str(number), jobs[-1]))
    assert names(Flow([*reversed(jobs)])) == [str(number) for number in range(3000)]


def test_a_cycle_is_an_error() -> None:
    a, b = named("a"), named("b")
    b.function_args = (a.output,)
    a.function_args = (b.output,)
    with pytest.raises(ValueError, match="depend on each other in a cycle"):
        new_jobs_of(Flow([a, b]))


def test_a_job_that_needs_itself_is_an_error() -> None:
    a = named("a")
    a.function_args = (a.output,)
    with pytest.raises(ValueError, match="depend on each other in a cycle"):
        new_jobs_of(Flow([a]))


def test_references_to_jobs_outside_the_flow_are_found() -> None:
    # Given two jobs that are not in the flow: one is an argument, the other is deep within one
    there, deep = named("there"), named("deep")
    user = total(1, {"all": [(deep.output.attribute["key"], 2)]})
    flow = Flow([user, named("b", there, user)])
    # Then
    assert missing_references(new_jobs_of(flow)) == sorted([there.uuid, deep.uuid])
    assert missing_references(new_jobs_of(diamond())) == []


def test_networkx_is_not_imported() -> None:
    code = (
        "import sys; from jobflow import Flow, job; from jfr_mp.database.new_jobs import new_jobs_of\n"
        "assert new_jobs_of(Flow([job(print)()])); assert 'networkx' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
