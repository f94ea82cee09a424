"""`jfr-mp top` on a real database: what its screen shows, and its keys."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import DataTable, Static

from jfr_mp import JobController, submit_flow
from jfr_mp.cli.top_screen import Message, Top
from tests.support.jobs import chain
from tests.support.projects import ProjectFactory, TestProject


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
