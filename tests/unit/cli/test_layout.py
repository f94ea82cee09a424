"""Tables within the width of a terminal."""

from __future__ import annotations

import re

import pytest

from jfr_mp.cli.layout import GAP, fit, wrap
from jfr_mp.cli.tables import Cell, Column, Sheet, flow_sheet, job_sheet
from jfr_mp.model import FlowInfo, JobInfo, utcnow
from jfr_mp.states import FlowState, JobState

UUID = "e1d66c4f-81db-4fff-bda2-2bf1d79d5961"


def width_of(sheet: Sheet) -> int:
    columns = [
        max(
            len(line) for text in (column.title, *(row[number].text for row in sheet.rows)) for line in text.split("\n")
        )
        for number, column in enumerate(sheet.columns)
    ]
    return sum(columns) + GAP * (len(columns) - 1)


def job(name: str, state: JobState = JobState.COMPLETED) -> JobInfo:
    return JobInfo(uuid=UUID, index=1, db_id="12345", worker="cluster", state=state, name=name, updated_on=utcnow())


def flow(name: str) -> FlowInfo:
    now = utcnow()
    return FlowInfo(
        db_ids=["12345"],
        job_ids=[UUID],
        job_indexes=[1],
        flow_id=UUID,
        state=FlowState.COMPLETED,
        name=name,
        created_on=now,
        updated_on=now,
        workers=["cluster"],
        job_states=[JobState.COMPLETED] * 30,
    )


JOBS = [job("relax"), job("static_energy_of_relaxed_structure_42", JobState.BATCH_SUBMITTED)]


@pytest.mark.parametrize("width", [80, 100, 120])
@pytest.mark.parametrize("sheet", [job_sheet(JOBS), flow_sheet([flow("a_flow_with_a_rather_long_name")])])
def test_a_list_fits_and_no_word_is_cut(sheet: Sheet, width: int) -> None:
    fitting = fit(sheet, width)

    assert fitting is not None
    assert width_of(fitting) <= width
    texts = [cell.text for row in fitting.rows for cell in row]
    assert any(text.startswith(UUID[:8]) for text in texts)
    # Every line ends where a word ends
    for before, after in zip(
        (cell.text for row in sheet.rows for cell in row if not cell.short),
        (
            cell.text
            for row, old in zip(fitting.rows, sheet.rows, strict=True)
            for cell, was in zip(row, old, strict=True)
            if not was.short
        ),
        strict=True,
    ):
        assert re.sub(r"(?<=[_/-])\n", "", after).replace("\n", " ") == before


def test_a_table_that_fits_stays_as_it_is() -> None:
    sheet = job_sheet(JOBS)

    assert fit(sheet, 1000) == sheet


def test_a_table_that_cannot_fit_is_none() -> None:
    assert fit(job_sheet(JOBS, 2), 60) is None


def test_short_texts_come_before_line_breaks() -> None:
    sheet = Sheet((Column("Name"), Column("Id")), ((Cell("two words"), Cell(UUID, short="e1d66c4f")),))

    fitting = fit(sheet, 20)

    assert fitting is not None
    assert [cell.text for cell in fitting.rows[0]] == ["two words", "e1d66c4f"]


@pytest.mark.parametrize(
    ("text", "breaks", "expected"),
    [
        ("one two three", False, "one two\nthree"),
        ("one\ntwo", False, "one\ntwo"),
        ("static_energy", True, "static_\nenergy"),
        ("static_energy", False, "static_energy"),
        ("/data/ab/cd", True, "/data/ab/\ncd"),
        ("it is x_y", True, "it is x_y"),
        ("", False, ""),
    ],
)
def test_wrapping(text: str, breaks: bool, expected: str) -> None:
    assert wrap(text, 9, breaks=breaks) == expected
