"""The web page in a real browser: live changes, actions, accessibility, and a server that is killed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from jobflow import Flow
from playwright.sync_api import Browser, expect

from jfr_mp import submit_flow
from tests.support.chromium import WIDTHS, Tab, chromium
from tests.support.gui import Ground, GuiServer, addresses, ground
from tests.support.jobs import add, chain, raises, replace_with, speaks, waits_for
from tests.support.mongod import Mongod
from tests.support.processes import run_cli, wait_gone
from tests.support.projects import TestProject

PASSWORD = "correct horse battery"
PAGES = ("overview", "jobs", "flows", "flow", "job", "queue", "workers", "batches", "log", "preview")


@dataclass
class Site:
    """A project with its processes, the server, and two users: the owner, and a reader with another browser window."""

    ground: Ground
    project: TestProject
    server: GuiServer
    browser: Browser
    operator: Tab
    reader: Tab


@pytest.fixture(scope="module")
def site(mongod_replica: Mongod) -> Iterator[Site]:
    with ground(mongod_replica) as place, chromium() as browser:
        project = place.factory()
        assert run_cli("gui", "users", "add", "anna", env=project.env, stdin=f"{PASSWORD}\n").returncode == 0
        assert run_cli("start", env=project.env).returncode == 0
        submit_flow(Flow([add(1)], name="first"))
        submit_flow(Flow([raises("RuntimeError: <b>no</b>")], name="second"))
        server = GuiServer(place.processes, project.env, "--port", "0")
        operator, reader = Tab(browser, server.base), Tab(browser, server.base, scheme="dark")
        operator.open(f"/login?token={server.links[-1]}")
        operator.sees("Workers")
        # Who is not logged in is led to the login, and from there to the page
        reader.open("/p/main/workers")
        reader.page.fill("[name=name]", "anna")
        reader.page.fill("[name=password]", PASSWORD)
        reader.page.click("button.strong")
        reader.sees("Workers and processes")
        yield Site(place, project, server, browser, operator, reader)
        run_cli("kill", env=project.env)


def reloads(tab: Tab) -> bool:
    """Return whether the page was loaded anew since the last call."""
    return not tab.page.evaluate("(() => { const was = window.stays; window.stays = true; return was })()")


def test_a_flow_is_watched_to_its_end_in_two_windows(site: Site) -> None:
    for tab in (site.operator, site.reader):
        tab.open("/p/main/jobs?name=link*")
        tab.sees("No job matches")
        reloads(tab)
    submit_flow(chain(3))
    for tab in (site.operator, site.reader):
        expect(tab.page.locator("td .state.done")).to_have_count(3)
        assert not reloads(tab)


def test_jobs_appear_in_the_graph_of_their_flow(site: Site) -> None:
    gate = site.ground.directory / "graph"
    gated = waits_for(str(gate), 1)
    submit_flow(Flow([gated, replace_with([gated.output, 2.0, 3.0])], name="dynamic"))
    operator = site.operator
    operator.open("/p/main/flows?name=dynamic")
    operator.page.click("a.row")
    expect(operator.page.locator("svg a[aria-label='waits_for: RUNNING']")).to_have_count(1)
    operator.is_settled()
    reloads(operator)
    gate.touch()
    expect(operator.page.locator("svg a[aria-label='add: COMPLETED']")).to_have_count(3)
    expect(operator.page.locator("h1 .state")).to_have_text("COMPLETED")
    assert not reloads(operator)


def test_a_click_is_not_lost_while_the_page_changes(site: Site) -> None:
    # Given a list of one flow, and a button that is pressed when another one comes
    page = site.operator.page
    submit_flow(Flow([add(1)], name="pressed"))
    site.operator.open("/p/main/flows?name=pressed")
    expect(page.locator("a.row")).to_have_count(1)
    page.locator("h1").hover()
    page.mouse.down()
    with page.expect_response(lambda answer: "flows?name=pressed" in answer.url):
        submit_flow(Flow([add(1)], name="pressed"))
    # When it is up again, then the list has both
    page.mouse.up()
    expect(page.locator("a.row")).to_have_count(2)
    # and if it was pressed on a flow, then this flow is shown
    row = page.locator("a.row").last
    name = row.text_content()
    assert name
    row.hover()
    page.mouse.down()
    with page.expect_response(lambda answer: "flows?name=pressed" in answer.url):
        submit_flow(Flow([add(1)], name="pressed"))
    page.mouse.up()
    expect(page.locator("h1")).to_contain_text("pressed")
    assert f"/flows/{name}" in page.url


def test_a_failed_job_is_followed_found_and_rerun(site: Site) -> None:
    gate, cure = site.ground.directory / "gate", site.ground.directory / "cure"
    (db_id,) = submit_flow(speaks(str(gate), str(cure)))
    operator, reader = site.operator, site.reader
    operator.open(f"/p/main/jobs/{db_id}")
    # Its output appears while it runs, and the rest when it has failed
    expect(operator.page.locator("h1 .state")).to_have_text("RUNNING")
    operator.page.click("#part-queue summary")
    operator.sees("the first line")
    reloads(operator)
    gate.touch()
    operator.sees("the last line", "FAILED", "there is no cure")
    assert not reloads(operator)
    # A filter by clicks finds it; what is marked stays marked when the list changes
    operator.open("/p/main/jobs?name=speaks")
    operator.page.click(".chips a.failed >> text=FAILED")
    assert "states=FAILED" in operator.page.url
    operator.is_settled()
    mark = operator.page.locator(f"input[name=db_ids][value='{db_id}']")
    mark.check()
    site.project.db.jobs.update_one({"db_id": db_id}, {"$set": {"job.name": "speaks", "error": "another error"}})
    site.project.db.jobs.update_one({"db_id": db_id}, {"$set": {"state": "REMOTE_ERROR"}})
    site.project.db.jobs.update_one({"db_id": db_id}, {"$set": {"state": "FAILED"}})
    operator.sees("another error")
    expect(mark).to_be_checked()
    # A reader is refused
    reader.open(f"/p/main/jobs/{db_id}")
    reader.sees("another error")
    expect(reader.page.locator("button[value=rerun]")).to_have_count(0)
    refusal = reader.page.goto(f"/p/main/jobs/act?action=rerun&db_ids={db_id}")
    assert refusal is not None
    assert refusal.status == 403
    reader.sees("You may only read")
    reader.open(f"/p/main/jobs/{db_id}")
    # The operator reruns it, which the reader sees
    cure.touch()
    operator.page.click("button[value=rerun]")
    operator.sees("Rerun 1 job?")
    operator.page.click("form.confirm button")
    operator.sees("1 of 1 done")
    expect(reader.page.locator("h1 .state")).to_have_text("COMPLETED")


def test_the_keyboard_is_enough(site: Site) -> None:
    operator = site.operator
    operator.open("/p/main/")
    operator.page.keyboard.type("gj")
    operator.page.wait_for_url("**/jobs")
    operator.is_settled()
    active = "document.activeElement."
    operator.page.keyboard.press("j")
    assert operator.page.evaluate(active + "className") == "row"
    operator.page.keyboard.press("x")
    expect(operator.page.locator("td input:checked")).to_have_count(1)
    operator.page.keyboard.press("/")
    assert operator.page.evaluate(active + "id") == "filter"
    operator.page.keyboard.type("raises")
    operator.page.keyboard.press("Enter")
    operator.page.wait_for_url("**name=raises*")
    operator.page.keyboard.press("j")
    operator.page.keyboard.press("Enter")
    operator.page.wait_for_url("**/jobs/*")


def test_pages_are_read_without_scripts(site: Site) -> None:
    tab = Tab(site.browser, site.server.base, scripts=False)
    tab.page.goto("/login")
    tab.page.fill("[name=name]", "anna")
    tab.page.fill("[name=password]", PASSWORD)
    tab.page.click("button.strong")
    tab.page.click("text=Jobs >> nth=0")
    tab.page.fill("#filter", "raises")
    tab.page.click("form.filters button")
    expect(tab.page.locator("td.error")).to_contain_text("<b>no</b>")
    tab.page.click("a.row")
    tab.page.click("#part-inputs summary")
    tab.page.click("#part-inputs a")
    expect(tab.page.locator("pre")).to_contain_text('"function"')
    tab.close()


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pictures are left: a directory of pytest, or the one that the environment names."""
    given = os.environ.get("JFR_MP_PICTURES")
    return Path(given) if given else tmp_path_factory.mktemp("pictures")


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_accessible_and_fits_any_width(site: Site, pictures: Path, name: str) -> None:
    tab = site.operator
    tab.open(addresses(site.project)[name])
    found = serious(tab)
    for width in WIDTHS:
        assert tab.size(width), f"{name} is wider than the window {width}"
        tab.picture(pictures / f"gui-{name}-{width}-light.png")
    tab.size("wide")
    tab.page.emulate_media(color_scheme="dark")
    found += serious(tab, "color-contrast")
    tab.picture(pictures / f"gui-{name}-wide-dark.png")
    tab.page.emulate_media(color_scheme="light")
    assert not found
    assert not tab.complaints


def serious(tab: Tab, *rules: str) -> list[tuple[str, Any]]:
    """Return what axe finds on a page, and where, if it is more than a hint."""
    options: dict[str, Any] = {"resultTypes": ["violations"]}
    if rules:
        options["runOnly"] = list(rules)
    found = Axe().run(tab.page, options=options).response["violations"]
    return [
        (each["id"], node["html"][:200]) for each in found if each["impact"] != "minor" for node in each["nodes"][:3]
    ]


def test_pages_recover_when_the_server_was_killed(site: Site) -> None:
    (db_id,) = submit_flow(Flow([add(1)], name="recovers"))
    operator = site.operator
    operator.open(f"/p/main/jobs/{db_id}")
    expect(operator.page.locator("h1 .state")).to_have_text("COMPLETED")
    reloads(operator)
    site.server.process.kill()
    wait_gone([site.server.process.pid])
    operator.sees("no connection")
    port = site.server.base.rpartition(":")[2]
    site.server = GuiServer(site.ground.processes, site.project.env, "--port", port)
    site.project.db.jobs.update_one({"db_id": db_id}, {"$set": {"state": "PAUSED"}})
    expect(operator.page.locator("h1 .state")).to_have_text("PAUSED")
    operator.sees("live")
    assert not reloads(operator)
