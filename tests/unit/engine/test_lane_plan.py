"""Each job belongs to the lane of one host."""

from __future__ import annotations

from typing import Any

import pytest

from jfr_mp.config import Project
from jfr_mp.engine.lane_plan import queries_by_host


def project(**workers: dict[str, Any]) -> Project:
    return Project.model_validate({"name": "p", "queue": {}, "workers": workers})


def local(name: str) -> dict[str, Any]:
    return {"type": "local", "scheduler_type": "shell", "work_dir": f"/scratch/{name}"}


def remote(host: str) -> dict[str, Any]:
    return {"type": "remote", "host": host, "scheduler_type": "slurm", "work_dir": "/work"}


@pytest.mark.parametrize(
    ("workers", "queries"),
    [
        ({}, {"": {}}),
        ({"a": local("a"), "b": local("b")}, {"a, b": {}}),
        (
            {"a": local("a"), "c": remote("c"), "b": local("b"), "d": remote("d"), "e": remote("c")},
            {
                "a, b": {"worker": {"$nin": ["c", "d", "e"]}},
                "c, e": {"worker": {"$in": ["c", "e"]}},
                "d": {"worker": {"$in": ["d"]}},
            },
        ),
    ],
    ids=["no worker", "one host", "three hosts"],
)
def test_queries_by_host(workers: dict[str, Any], queries: dict[str, Any]) -> None:
    assert queries_by_host(project(**workers)) == queries
