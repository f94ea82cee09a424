from __future__ import annotations

import io
import json
import logging

import pytest

from jfr_mp import logs
from jfr_mp.log_entries import LogOutput
from jfr_mp.logs import LogFormat

LINES = [
    "2026-11-28 21:00:00,123 [WARNING] queue-1 42 jfr_mp.engine: job 7 waits",
    "2026-11-28 21:00:01,000 [ERROR] queue-1 42 jfr_mp.engine: it failed",
    "Traceback (most recent call last):",
    "  ValueError: \x1b[2J",
]


def shown(log_format: LogFormat, *batches: list[str]) -> list[str]:
    stream = io.StringIO()
    output = LogOutput(stream, log_format)
    for batch in batches:
        output.show("queue-1", batch)
    return stream.getvalue().splitlines()


def test_a_terminal_sees_from_which_process_a_line_is() -> None:
    assert shown(LogFormat.TEXT, ["one", "two"], []) == ["queue-1 | one", "queue-1 | two"]


def test_the_journal_gets_the_priority_of_each_line() -> None:
    assert shown(LogFormat.JOURNAL, LINES[:3], LINES[3:]) == [
        "<4>queue-1 42 jfr_mp.engine: job 7 waits",
        "<3>queue-1 42 jfr_mp.engine: it failed",
        "<3>Traceback (most recent call last):",
        "<3>  ValueError: \ufffd[2J",
    ]


def test_json_has_one_object_for_an_entry() -> None:
    first, second = map(json.loads, shown(LogFormat.JSON, LINES))
    assert first == {
        **{"time": "2026-11-28T21:00:00.123", "level": "warning", "process": "queue-1", "pid": 42},
        **{"logger": "jfr_mp.engine", "message": "job 7 waits"},
    }
    assert second["message"] == "it failed\nTraceback (most recent call last):\n  ValueError: \ufffd[2J"
    (crash,) = map(json.loads, shown(LogFormat.JSON, ["no module named nothing"]))
    assert crash == {"level": "error", "process": "queue-1", "message": "no module named nothing"}


def test_a_terminal_that_was_closed_disturbs_nobody() -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    LogOutput(Closed()).show("queue-1", ["one"])


@pytest.mark.parametrize(
    ("level", "priority"),
    [(logging.DEBUG, 7), (logging.INFO, 6), (logging.WARNING, 4), (logging.ERROR, 3), (logging.CRITICAL, 2)],
)
def test_priorities_are_those_of_syslog(level: int, priority: int) -> None:
    assert logs.as_journal_lines("a\nb", level) == f"<{priority}>a\n<{priority}>b"
