"""`jfr-mp top` on a real database: what its screen shows, and its keys."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from jobflow import Flow
from textual.pilot import Pilot
from textual.widgets import DataTable, Static

from jfr_mp import JobController, submit_flow
from jfr_mp.cli.screens.top_screen import Message, Top
from tests.support.jobs import chain, link, raises, speaks
from tests.support.processes import JFR_MP, run_cli
from tests.support.projects import ProjectFactory, TestProject
from tests.support.terminal import Terminal

_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d|~?\d+:\d\d:\d\d")


@pytest.fixture
def project(fresh_project: ProjectFactory) -> TestProject:
    return fresh_project()


async def until(pilot: Pilot[None], condition: Callable[[], bool]) -> None:
    for _ in range(100):
        await pilot.pause(0.1)
        if condition():
            return
    raise AssertionError(f"the screen does not come to it: {rows(pilot.app)}")


def rows(app: Any) -> list[list[str]]:
    table = app.screen_stack[0].query_one(DataTable)
    return [[str(cell) for cell in table.get_row_at(number)] for number in range(table.row_count)]


def shown(app: Any) -> str:
    return str(app.screen.query_one(Static).render())


def without_times(screen: list[str]) -> list[str]:
    """Return the lines that are not empty, those of jobs sorted, with single spaces and without times."""
    lines = [re.sub(r"(TIME ?)+", "TIME", _TIME.sub("TIME", " ".join(line.split()))) for line in screen if line.strip()]
    return [*lines[:2], *sorted(lines[2:-1]), *lines[-1:]]


def test_the_screen_is_live_and_obeys_its_keys(project: TestProject) -> None:
    first, _ = submit_flow(chain(2))
    project.db.jobs.update_one({"db_id": first}, {"$set": {"job.name": "[red]x[/red]"}})
    controller = JobController.from_project_name()

    async def use() -> None:
        app = Top(controller)
        async with app.run_test(size=(80, 24)) as pilot:
            # Given the list, in which names are text
            await until(pilot, lambda: len(rows(app)) == 2)
            assert any("[red]x[/red]" in cell for row in rows(app) for cell in row)
            # When a job fails, the list says so by itself
            change = {"state": "FAILED", "error": "RuntimeError: no"}
            await asyncio.to_thread(project.db.jobs.update_one, {"db_id": first}, {"$set": change})
            await until(pilot, lambda: any("FAILED" in row for row in rows(app)))
            # The filter leaves the failed one, which is explained and rerun
            await pilot.press("f")
            await until(pilot, lambda: len(rows(app)) == 1)
            await pilot.press("enter")
            await until(pilot, lambda: isinstance(app.screen, Message))
            assert "is FAILED" in shown(app)
            await pilot.press("escape", "r")
            await until(pilot, lambda: isinstance(app.screen, Message))
            await pilot.press("n")
            assert project.db.jobs.distinct("state", {"db_id": first}) == ["FAILED"]
            await pilot.press("r")
            await until(pilot, lambda: isinstance(app.screen, Message))
            await pilot.press("y")
            await until(pilot, lambda: project.db.jobs.distinct("state", {"db_id": first}) == ["READY"])
            await until(pilot, lambda: rows(app) == [])
            await pilot.press("q")

    asyncio.run(use())
    controller.close()


def test_a_terminal_of_80_columns_shows_a_live_project(project: TestProject, tmp_path: Path) -> None:
    # Given a job that fails, one that waits for it, and one that runs and prints
    gate = tmp_path / "gate"
    failing = raises("no convergence")
    submit_flow(Flow([failing, link(failing.output)], name="fails"))
    submit_flow(Flow([speaks(str(gate), str(tmp_path))], name="speaks"))
    assert run_cli("start", env=project.env).returncode == 0
    with closing(Terminal(tmp_path / "tmux", [JFR_MP, "top"], env=project.env)) as terminal:
        # Then the screen is exactly this, but for the times
        expected = [
            "main: 1 WAITING, 1 RUNNING, 1 FAILED [all]",
            "DB id Name State Worker Run time Last updated [UTC]",
            "1 raises FAILED local TIME",
            "2 link WAITING local TIME",
            "3 speaks RUNNING local TIME",
            "q Quit f Filter e Explain o Output r Rerun s Stop p Pause u Resume t Retry",
        ]
        terminal.comes_to(lambda screen: without_times(screen) == expected)
        # The filter and the explanation
        terminal.press("f")
        terminal.shows("[failed]")
        terminal.comes_to(lambda screen: not any("link" in line for line in screen))
        terminal.press("Enter")
        text = " ".join(line.strip(" │") for line in terminal.shows("it ran and failed: RuntimeError: no convergence"))
        assert "Job 1 (raises) on worker local is FAILED." in text
        terminal.comes_to(lambda screen: screen[-1].split() == ["esc", "Close"])
        terminal.press("q")
        # What a job prints is followed
        terminal.press("f")
        terminal.shows("[on their way]", "speaks")
        terminal.press("o")
        terminal.shows("the first line")
        gate.touch()
        terminal.shows("the last line")
        terminal.press("q")
        # A job that ends is counted without a key
        terminal.comes_to(lambda screen: screen[-1].split()[:2] == ["q", "Quit"])
        terminal.shows("1 WAITING, 1 COMPLETED, 1 FAILED")
        # And the end
        terminal.press("q")
        terminal.ends_well()
