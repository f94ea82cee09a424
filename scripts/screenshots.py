#!/usr/bin/env python3
"""Leave pictures of the web page in a directory: each page at three widths, in both colour schemes.

It needs the extras of `dev` and Debian's chromium. The pictures show a real project: real jobs that real processes have
run. `tests/integration/gui/test_browser.py` takes pictures of a smaller one, into the directory that JFR_MP_PICTURES
names.

    scripts/screenshots.py docs/images
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.support.chromium import SCHEMES, WIDTHS, Tab, chromium
from tests.support.gui import Ground, GuiServer, addresses, ground
from tests.support.processes import run_cli
from tests.support.projects import TestProject
from tests.support.waiting import wait_until


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--pages", nargs="*", help="only these pages")
    parser.add_argument("--widths", nargs="*", default=list(WIDTHS), choices=WIDTHS)
    parser.add_argument("--schemes", nargs="*", default=list(SCHEMES), choices=SCHEMES)
    given = parser.parse_args()
    given.directory.mkdir(parents=True, exist_ok=True)
    with ground() as place, chromium() as browser, ExitStack() as stack:
        project = demo(place, stack)
        server = GuiServer(place.processes, project.env, "--port", "0")
        pages = {**addresses(project), "folded": folded(project)}
        for scheme in given.schemes:
            tab = Tab(browser, server.base, scheme=scheme)
            tab.open(f"/login?token={server.links[-1]}")
            for name in given.pages or pages:
                tab.open(pages[name])
                for width in given.widths:
                    path = given.directory / f"gui-{name}-{width}-{scheme}.png"
                    fits = tab.size(width)
                    tab.picture(path)
                    print(path.name, "" if fits else "DOES NOT FIT", *tab.complaints)
            tab.close()
            wait_until(lambda: len(server.links) > 1, 10, "another link")


def demo(place: Ground, stack: ExitStack) -> TestProject:
    """Run some flows, and leave some of them on their way."""
    from jobflow import Flow, Job

    from jfr_mp import submit_flow
    from tests.support import jobs

    remote = {"type": "local", "scheduler_type": "shell", "work_dir": str(place.directory / "work2"), "max_jobs": 2}
    project = place.factory("materials", workers={"cluster": remote}, worker={"max_jobs": 4})
    gate = str(place.directory / "gate")
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
    flows: tuple[Flow | Job, ...] = (
        Flow([*relax, after, *bands, waiting], name="Si2 band structure"),
        Flow([jobs.replace_with([float(n) for n in range(90)])], name="elastic tensor MgO"),
        jobs.chain(6),
    )
    for flow in flows:
        submit_flow(flow, worker="local")
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
    return project


def folded(project: TestProject) -> str:
    """Return the path of the page of a flow with many jobs."""
    flow = project.db.flows.find_one({"name": "elastic tensor MgO"})
    assert flow is not None
    return f"/p/{project.name}/flows/{flow['uuid']}"


if __name__ == "__main__":
    main()
