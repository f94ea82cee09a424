"""Use the web page in a real browser: live changes, keyboard, a rerun, a restart of the server, a reader.

It needs what `scripts/screenshots.py` needs.

    PYTHONPATH=.:scripts python scripts/check_browser.py
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from screenshots import chromium
from selenium.webdriver.common.by import By

from jfr_mp import submit_flow
from tests.support.gui import GuiServer
from tests.support.jobs import chain
from tests.support.mongod import Mongod
from tests.support.processes import Processes, end, run_cli
from tests.support.projects import ProjectFactory, TestProject
from tests.support.waiting import wait_until

PASSWORD = "correct horse battery"


def main() -> None:
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="jfr-mp-browser-")))
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        (directory / "logs").mkdir()
        processes = Processes(directory / "logs")
        stack.callback(processes.end_all)
        mongod = Mongod(directory / "mongod", replica_set="rs_browser")
        stack.callback(mongod.close)
        mongod.start()
        factory = ProjectFactory(directory, patch, mongod)
        stack.callback(factory.remove)
        project = factory()
        assert run_cli("gui", "users", "add", "anna", env=project.env, stdin=f"{PASSWORD}\n").returncode == 0
        server = GuiServer(processes, project.env, "--port", "0")
        operator, reader = chromium("light"), chromium("dark")
        stack.callback(operator.quit)
        stack.callback(reader.quit)
        log_in(server, operator, reader)
        job = watch(project, server, operator, reader)
        act(project, job, operator, reader)
        use_the_keyboard(operator)
        open_a_part(server, job, operator)
        survive_a_restart(project, server, job, operator, processes)
        complaints = [line["message"] for line in operator.get_log("browser")]
        assert not [line for line in complaints if "Content Security Policy" in line], complaints


def log_in(server: GuiServer, operator: Any, reader: Any) -> None:
    """Log in with the link and with a password."""
    operator.get(f"{server.base}/login?token={server.links[-1]}")
    wait_until(lambda: len(server.links) > 1, 10, "another link")
    reader.get(f"{server.base}/login")
    reader.find_element(By.NAME, "name").send_keys("anna")
    reader.find_element(By.NAME, "password").send_keys(PASSWORD)
    reader.find_element(By.CSS_SELECTOR, "button.strong").click()
    sees(reader, "Workers")


def watch(project: TestProject, server: GuiServer, operator: Any, reader: Any) -> str:
    """See a flow appear and a job fail, without a reload, in two browsers; what is marked stays marked."""
    for each in (operator, reader):
        each.get(f"{server.base}/p/main/jobs")
        each.execute_script("window.never_reloaded = true")
        sees(each, "There are no jobs yet")
        connected(each)
    job, _ = submit_flow(chain(2))
    for each in (operator, reader):
        sees(each, "READY", "WAITING")
    project.db.jobs.update_one({"db_id": job}, {"$set": {"state": "FAILED", "error": "RuntimeError: <b>no</b>"}})
    for each in (operator, reader):
        sees(each, "FAILED", "RuntimeError: <b>no</b>")
        assert each.execute_script("return window.never_reloaded")
    print("two browsers saw a flow appear and a job fail, without a reload")
    mark = (By.CSS_SELECTOR, f"input[name=db_ids][value='{job}']")
    operator.find_element(*mark).click()
    project.db.jobs.update_many({"db_id": {"$ne": job}}, {"$set": {"worker": "elsewhere", "state": "PAUSED"}})
    sees(operator, "elsewhere")
    assert operator.find_element(*mark).is_selected()
    print("a marked job stays marked when the list changes")
    return job


def act(project: TestProject, job: str, operator: Any, reader: Any) -> None:
    """Rerun a failed job by its button and the confirmation; a reader sees it and has no such button."""
    project.db.jobs.update_many({}, {"$set": {"worker": "local"}})
    operator.find_element(By.CSS_SELECTOR, "button[value=rerun]").click()
    sees(operator, "Rerun 1 job?")
    operator.find_element(By.CSS_SELECTOR, "form.confirm button").click()
    sees(operator, "1 of 1 done")
    assert project.db.jobs.distinct("state", {"db_id": job}) == ["READY"]
    sees(reader, "local")
    assert not reader.find_elements(By.CSS_SELECTOR, "button[value=rerun]")
    print("an operator reran a job, and a reader could not")


def use_the_keyboard(operator: Any) -> None:
    """Go to a page, to a row and to the filter."""
    operator.find_element(By.TAG_NAME, "body").send_keys("gj")
    wait_until(lambda: operator.current_url.endswith("/jobs"), 10, "the list of jobs")
    operator.find_element(By.TAG_NAME, "body").send_keys("j")
    assert operator.switch_to.active_element.get_attribute("class") == "row"
    operator.find_element(By.TAG_NAME, "body").send_keys("/")
    assert operator.switch_to.active_element.get_attribute("id") == "filter"
    print("the keyboard works")


def open_a_part(server: GuiServer, job: str, operator: Any) -> None:
    """Parts of a job are read when they are opened."""
    operator.get(f"{server.base}/p/main/jobs/{job}")
    operator.find_element(By.CSS_SELECTOR, "#part-inputs summary").click()
    sees(operator, '"function"')
    print("inputs were read when they were opened")


def survive_a_restart(project: TestProject, server: GuiServer, job: str, operator: Any, processes: Processes) -> None:
    """The server is killed and started again: the page recovers by itself."""
    connected(operator)
    end(server.process.pid)
    sees(operator, "no connection")
    GuiServer(processes, project.env, "--port", server.base.rpartition(":")[2])
    project.db.jobs.update_one({"db_id": job}, {"$set": {"state": "UPLOADED"}})
    sees(operator, "UPLOADED", seconds=60)
    print("the page has recovered from a restart of the server")


def connected(browser: Any) -> None:
    script = "return document.getElementById('connection').className"
    wait_until(lambda: browser.execute_script(script) == "on", 10, "the connection")


def sees(browser: Any, *texts: str, seconds: float = 20) -> None:
    def shown() -> bool:
        body = browser.execute_script("return document.body.innerText")
        return all(text in body for text in texts)

    wait_until(shown, seconds, f"{texts} on {browser.current_url}")


if __name__ == "__main__":
    main()
