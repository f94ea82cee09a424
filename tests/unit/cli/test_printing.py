from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from jfr_mp.cli.output import print_details, print_json, print_sheet
from jfr_mp.cli.rows import Cell, Sheet
from jfr_mp.states import JobState


def test_a_table_in_a_pipe_has_whole_rows_and_no_colours(capsys: pytest.CaptureFixture[str]) -> None:
    # Given a cell that is wider than any terminal, and one that looks like markup
    sheet = Sheet(("Name", "Text"), ((Cell("[red]x[/red]", "bold red"), Cell("y" * 300)),))

    # When the table goes into a pipe
    print_sheet(sheet, "A [title]")

    # Then everything is as it was given
    printed = capsys.readouterr().out
    assert "[red]x[/red]" in printed
    assert "y" * 300 in printed
    assert "A [title]" in printed
    assert "\x1b" not in printed


def test_json_has_times_and_states(capsys: pytest.CaptureFixture[str]) -> None:
    data = {"at": datetime(2025, 1, 1, tzinfo=UTC), "state": JobState.READY, "dir": Path("/a"), "name": "é"}

    print_json(data)

    printed = json.loads(capsys.readouterr().out)
    assert printed == {"at": "2025-01-01T00:00:00+00:00", "state": "READY", "dir": "/a", "name": "é"}


def test_text_of_several_lines_stays_below_its_field(capsys: pytest.CaptureFixture[str]) -> None:
    print_details([("state", "FAILED"), ("remote.error", "one\ntwo\n")])

    assert capsys.readouterr().out.splitlines() == [
        "       state = FAILED",
        "remote.error = one",
        "               two",
    ]
