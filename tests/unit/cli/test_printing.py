from __future__ import annotations

import io
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from jfr_mp.cli.printing import print_details, print_json, print_sheet, print_text, styled
from jfr_mp.cli.tables import Cell, Column, Sheet
from jfr_mp.states import JobState


def test_a_table_in_a_pipe_has_whole_rows_and_no_colours(capsys: pytest.CaptureFixture[str]) -> None:
    # Given a cell that is wider than any terminal, and one that looks like markup
    sheet = Sheet((Column("Name"), Column("Text")), ((Cell("[red]x[/red]", "bold red"), Cell("y" * 300)),))

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


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environment", "coloured"),
    [({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)],
)
def test_colours_appear_on_a_terminal_that_wants_them(
    environment: dict[str, str], coloured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert ("\x1b[" in styled("FAILED", "bold red", Terminal())) is coloured
    assert styled("FAILED", "bold red", io.StringIO()) == "FAILED"
    assert styled("FAILED", "", Terminal()) == "FAILED"


@pytest.mark.parametrize("width", [60, 80, 100])
def test_a_table_on_a_terminal_is_as_wide_as_that(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a terminal, and a table that is too wide for it, in the narrowest even with line breaks
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("NO_COLOR", "1")
    words = ["unbreakable" * 2, "x" * 30, "two words", "y" * 10]

    print_sheet(Sheet(tuple(map(Column, "ABCD")), (tuple(map(Cell, words)),)), "A title")

    # Then no word of it is cut
    lines = terminal.getvalue().splitlines()
    assert all(len(line.rstrip()) <= width for line in lines)
    assert set(" ".join(words).split()) <= set(" ".join(lines).split())


def test_nothing_controls_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    evil = "relax\x1b[2J\x07\r"

    print_sheet(Sheet((Column("Name"),), ((Cell(evil),),)))
    print_details([("name", evil)])
    print_text(f"{evil}\n\tä")

    printed = capsys.readouterr().out
    assert not set("\x1b\x07\r") & set(printed)
    assert printed.endswith("\n\tä\n")
