from __future__ import annotations

from typing import Any

import pytest
import typer

from jfr_mp.cli.options import wanted_roles, whole_number
from jfr_mp.step_table import ROLES


def given(*roles: str, **numbers: int) -> dict[str, Any]:
    return {**{role: role in roles for role in ROLES}, **{f"num_{role}": None for role in ROLES}, **numbers}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (given(), {"checkout": 1, "transfer": 1, "queue": 1, "complete": 1}),
        (given(num_transfer=3, num_complete=2), {"checkout": 1, "transfer": 3, "queue": 1, "complete": 2}),
        (given("queue", "transfer"), {"transfer": 1, "queue": 1}),
        (given("transfer", num_transfer=4), {"transfer": 4}),
    ],
)
def test_roles_follow_from_the_flags(values: dict[str, Any], expected: dict[str, int]) -> None:
    # Then they come in the order in which a job meets them
    assert list(wanted_roles(values).items()) == list(expected.items())


def test_a_number_for_a_role_that_was_not_chosen_is_refused() -> None:
    with pytest.raises(typer.BadParameter, match="--num-complete needs --complete"):
        wanted_roles(given("queue", num_complete=2))


@pytest.mark.parametrize("text", ["-1", "x", "1.5", "9" * 20, "9" * 5000])
def test_a_number_that_nothing_can_work_with_is_refused(text: str) -> None:
    read = whole_number()
    assert read("12") == 12
    with pytest.raises(typer.BadParameter):
        read(text)
