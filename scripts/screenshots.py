"""Leave pictures of the web page in a directory: each page at three widths, in both colour schemes.

It needs the extras of `dev`, selenium (``pip install selenium``) and Debian's chromium and chromium-driver. The
pictures show a real project: real jobs that real processes have run.

    PYTHONPATH=. python scripts/screenshots.py docs/images
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.gui import GuiServer
from tests.support.mongod import Mongod
from tests.support.processes import Processes, run_cli
from tests.support.projects import ProjectFactory, TestProject
from tests.support.waiting import wait_until

WIDTHS = {"narrow": (390, 800), "wide": (1280, 800), "large": (2560, 1200)}
SCHEMES = ("light", "dark")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--pages", nargs="*", help="only these pages")
    parser.add_argument("--widths", nargs="*", default=list(WIDTHS), choices=WIDTHS)
    parser.add_argument("--schemes", nargs="*", default=list(SCHEMES), choices=SCHEMES)
    given = parser.parse_args()
    given.directory.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="jfr-mp-pictures-")))
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        project, processes = demo(directory, patch, stack)
        server = GuiServer(processes, project.env, "--port", "0")
        for scheme in given.schemes:
            browser = chromium(scheme)
            stack.callback(browser.quit)
            browser.get(f"{server.base}/login?token={server.links[-1]}")
            for width in given.widths:
                for name, url in addresses(project).items():
                    if not given.pages or name in given.pages:
                        path = given.directory / f"gui-{name}-{width}-{scheme}.png"
                        picture(browser, server.base + url, WIDTHS[width], path)
            wait_until(lambda: len(server.links) > 1, 10, "another link")


def demo(directory: Path, patch: pytest.MonkeyPatch, stack: ExitStack) -> tuple[TestProject, Processes]:
    """Run some flows, and leave some of them on their way."""
    from jobflow import Flow

    from jfr_mp import submit_flow
    from tests.support import jobs

    (directory / "logs").mkdir()
    processes = Processes(directory / "logs")
    stack.callback(processes.end_all)
    server = Mongod(directory / "mongod", replica_set="rs_demo")
    stack.callback(server.close)
    server.start()
    factory = ProjectFactory(directory, patch, server)
    stack.callback(factory.remove)
    remote = {"type": "local", "scheduler_type": "shell", "work_dir": str(directory / "work2"), "max_jobs": 2}
    project = factory("materials", workers={"cluster": remote}, worker={"max_jobs": 4})
    gate = str(directory / "gate")
    gated = jobs.waits_for(gate, 1)
    gated.name = "static"
    relax = [jobs.add(n, 1) for n in range(3)]
    for number, each in enumerate(relax):
        each.name = f"relax {number + 1}"
    after = jobs.total([each.output for each in relax])
    after.name = "collect energies"
    bands = [jobs.link(after.output), jobs.waits_for(gate, after.output)]
    for each, name in zip(bands, ("band structure", "density of states"), strict=True):
        each.name = name
    waiting = jobs.total([each.output for each in bands])
    waiting.name = "report"
    gated2 = jobs.waits_for(gate, 2)
    gated2.name = "phonon"
    for each in (
        Flow([*relax, after, *bands, waiting], name="Si2 band structure"),
        Flow([jobs.replace_with([float(n) for n in range(90)])], name="elastic tensor MgO"),
        jobs.chain(6),
    ):
        submit_flow(each, worker="local")
    submit_flow(Flow([gated2, gated], name="NaCl phonons"), worker="cluster")
    for message in ("VASP: ZBRENT: fatal error in bracketing", "electronic minimisation did not converge in 60 steps"):
        failing = jobs.raises(message)
        failing.name = "relax"
        submit_flow(
            Flow([failing, jobs.link(failing.output)], name=f"TiO2 {message.split()[0].lower()}"), worker="local"
        )
    started = run_cli("start", env=project.env)
    assert started.returncode == 0, started.stderr

    def is_settled() -> bool:
        moving = {"$nin": ["COMPLETED", "FAILED", "RUNNING", "WAITING"]}
        return project.db.jobs.count_documents({"state": moving}) == 0

    wait_until(is_settled, 300, "the jobs")
    stack.callback(run_cli, "kill", env=project.env)
    stack.callback(Path(gate).touch)
    return project, processes


def addresses(project: TestProject) -> dict[str, str]:
    """Return the pages that are shown."""

    def flow(name: str) -> str:
        found = project.db.flows.find_one({"name": name})
        assert found is not None
        return str(found["uuid"])

    failed = project.db.jobs.find_one({"state": "FAILED"})
    assert failed is not None
    pages = {
        "overview": "",
        "jobs": "jobs",
        "flows": "flows",
        "flow": f"flows/{flow('Si2 band structure')}",
        "folded": f"flows/{flow('elastic tensor MgO')}",
        "job": f"jobs/{failed['db_id']}",
        "queue": f"jobs/{failed['db_id']}/queue",
        "workers": "workers",
        "batches": "batches",
        "log": "log",
        "preview": f"jobs/act?action=rerun&db_ids={failed['db_id']}",
    }
    return {name: f"/p/{project.name}/{path}" for name, path in pages.items()}


def chromium(scheme: str) -> Any:
    """Return Debian's browser without a window."""
    from selenium import webdriver  # not a requirement of this package
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for argument in ("--headless=new", "--no-sandbox", "--hide-scrollbars", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    return driver


def picture(browser: Any, url: str, size: tuple[int, int], path: Path) -> None:
    """Take a picture of a page, as high as the window."""
    width, height = size
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get(url)
    live: Callable[[], bool] = lambda: browser.execute_script(  # noqa: E731
        "const c = document.getElementById('connection'); return !c || c.hidden || c.className === 'on'"
    )
    wait_until(live, 10, f"the events of {url}")
    wide = browser.execute_script("return document.documentElement.scrollWidth")
    complaints = [entry for entry in browser.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]
    browser.save_screenshot(str(path))
    print(
        path.name, f"{path.stat().st_size / 1024:.0f} kB", "" if wide <= width else f"OVERFLOWS to {wide}", *complaints
    )


if __name__ == "__main__":
    main()
