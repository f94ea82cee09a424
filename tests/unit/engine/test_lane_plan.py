"""Each job belongs to the lane of one host."""

from __future__ import annotations

from typing import Any

import pytest

from jfr_mp.database.filters import JobFilter
from jfr_mp.engine.lane_plan import plans_of
from jfr_mp.sites.site import Connections
from jfr_mp.step_table import Role
from tests.support.sites import project_with


def local(name: str) -> dict[str, Any]:
    return {"type": "local", "scheduler_type": "shell", "work_dir": f"/scratch/{name}"}


def remote(host: str) -> dict[str, Any]:
    return {"type": "remote", "host": host, "scheduler_type": "slurm", "work_dir": "/work"}


@pytest.mark.parametrize(
    ("workers", "lanes"),
    [
        ({}, {"transfer": JobFilter()}),
        ({"a": local("a"), "b": local("b")}, {"transfer: a, b": JobFilter()}),
        (
            {"a": local("a"), "c": remote("c"), "b": local("b"), "d": remote("d"), "e": remote("c")},
            {
                "transfer: a, b": JobFilter(other_workers=("c", "d", "e")),
                "transfer: c, e": JobFilter(workers=("c", "e")),
                "transfer: d": JobFilter(workers=("d",)),
            },
        ),
    ],
    ids=["no worker", "one host", "three hosts"],
)
def test_a_role_that_works_with_hosts_has_a_lane_for_each(workers: dict[str, Any], lanes: dict[str, JobFilter]) -> None:
    connections = Connections(project_with(**workers))
    plans = plans_of(Role.TRANSFER, connections)
    assert {plan.name: plan.jobs for plan in plans} == lanes
    assert all((plan.breaker is None) is (not workers) for plan in plans)


def test_another_role_has_one_lane() -> None:
    (plan,) = plans_of(Role.COMPLETE, Connections(project_with(a=local("a"), c=remote("c"))))
    assert (plan.name, plan.jobs, plan.breaker) == ("complete", JobFilter(), None)
