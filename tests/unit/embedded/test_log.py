from __future__ import annotations

import json

import pytest

from jfr_mp.embedded.log import summary


def line(severity: str, text: str, **details: object) -> str:
    return json.dumps({"s": severity, "msg": text, "attr": details})


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], ""),
        (["not", "json", "at", "all"], "json\nat\nall"),
        (['["no object"]', "{cut"], '["no object"]\n{cut'),
        ([line("I", "started"), "{}"], "started\n{}"),
        (
            [line("I", "on the way", port=1), line("E", "bad", error="in use"), line("I", "bye")],
            'bad {"error": "in use"}',
        ),
        ([line("E", "cause"), *[line("F", "consequence")] * 9], "cause\nconsequence\nconsequence"),
        ([line("E", "WiredTiger", message={"msg": "pwrite", "error_str": "No space left"})], "pwrite: No space left"),
        ([line("E", "x" * 1000)], "x" * 400),
    ],
)
def test_a_summary_is_the_first_errors_or_the_last_lines(lines: list[str], expected: str) -> None:
    assert summary(lines) == expected
