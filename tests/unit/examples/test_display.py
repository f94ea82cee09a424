"""What the quickstart prints, as text."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console, RenderableType

from jfr_mp.examples.display import PLAIN_WIDTH, Progress, progress_table, result_text, times_table
from jfr_mp.examples.timeline import JobTimeline
from jfr_mp.states import JobState

START = datetime(2026, 1, 1, tzinfo=UTC)


def job(db_id: str, *entered: tuple[JobState, float], name: str = "relax") -> JobTimeline:
    return JobTimeline(db_id, name, [(state, START + timedelta(seconds=at)) for state, at in entered])


def printed(what: RenderableType) -> str:
    with io.StringIO() as file:
        Console(file=file, width=PLAIN_WIDTH).print(what)
        return file.getvalue()


def test_times_have_a_column_for_each_state_that_was_met() -> None:
    jobs = [
        job("1", (JobState.READY, 0), (JobState.RUNNING, 0.5), (JobState.COMPLETED, 2)),
        job("2", (JobState.WAITING, 0), (JobState.STOPPED, 3)),
    ]

    text = printed(times_table(jobs))

    assert "RUNNING" in text
    assert "UPLOADED" not in text
    assert all(seconds in text for seconds in ("0.500", "1.500", "3.000"))


def test_a_name_is_text_and_never_markup() -> None:
    named = job("1", (JobState.READY, 0), name="[red]relax (1)")

    assert "[red]relax (1)" in printed(progress_table([named]))
    assert "[red]relax (1)" in printed(times_table([named]))


def test_results_have_units() -> None:
    fitted = {"metal": "Cu", "lattice_constant": 3.58986, "bulk_modulus": 134.207, "bulk_modulus_derivative": 4.147}

    text = printed(result_text(fitted))

    assert "3.5899 Å" in text
    assert "134.2 GPa" in text


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_names_the_new_state(terminal: bool) -> None:
    # Given a terminal or a file
    file = io.StringIO()
    console = Console(file=file, width=PLAIN_WIDTH, force_terminal=terminal)
    progress = Progress(console)
    running = job("4", (JobState.READY, 0), (JobState.RUNNING, 1.25), name="[b] relax")

    # When a job changes
    with progress.shown():
        progress.update(running, [running])

    # Then both say so, the file with the time since the first job
    text = file.getvalue()
    assert "[b] relax" in text
    assert "RUNNING" in text
    assert terminal or "1.250 s" in text
