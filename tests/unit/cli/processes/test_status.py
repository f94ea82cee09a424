from __future__ import annotations

import pytest

from jfr_mp.cli.processes.status import exit_code
from jfr_mp.errors import ExitCode


@pytest.mark.parametrize(
    ("masters", "database_answers", "expected"),
    [
        ([["RUNNING", "RUNNING"]], True, ExitCode.OK),
        ([["RUNNING"]], False, ExitCode.OK),
        ([["RUNNING"], ["RUNNING", "FATAL"]], True, ExitCode.START_FAILED),
        ([["BACKOFF"]], True, ExitCode.OK),
        ([], True, ExitCode.NOT_RUNNING),
        ([], False, ExitCode.DATABASE),
    ],
)
def test_the_exit_code_says_what_runs(masters: list[list[str]], database_answers: bool, expected: ExitCode) -> None:
    rows = [{"roles": [{"state": state} for state in states]} for states in masters]

    assert exit_code(rows, database_answers=database_answers) is expected
