"""The leaves of a flow."""

from __future__ import annotations

from typing import Any

import pytest

from jfr_mp.database.flow_state import leaves_of


def _job(uuid: str, *parents: str, index: int = 1) -> dict[str, Any]:
    return {"uuid": uuid, "index": index, "parents": list(parents) or None}


@pytest.mark.parametrize(
    ("jobs", "leaves"),
    [
        ([], []),
        ([_job("a")], [("a", 1)]),
        ([_job("a"), _job("b", "a")], [("b", 1)]),
        ([_job("a"), _job("b", "a"), _job("c", "a", "b"), _job("d")], [("c", 1), ("d", 1)]),
        ([_job("a", index=2), _job("a")], [("a", 2)]),
        ([_job("a"), _job("a", "x", index=2), _job("x"), _job("b", "a")], [("b", 1)]),
    ],
    ids=["none", "one", "chain", "diamond", "replaced", "replaced with a child"],
)
def test_only_what_nothing_depends_on_is_a_leaf(jobs: list[dict[str, Any]], leaves: list[tuple[str, int]]) -> None:
    assert sorted((job["uuid"], job["index"]) for job in leaves_of(jobs)) == leaves
