#!/usr/bin/env python3
"""Measure the web page with many jobs: the time of each page, the cost of idle open pages, and what floods do.

    scripts/benchmark_gui.py [--jobs 100000] [--only pages|idle|floods]

The jobs are documents in a real database; one flow has 5,000 of them. No role process runs.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import threading
import time
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from jfr_mp import submit_flow
from jfr_mp.states import JobState
from tests.support.flood import Flood
from tests.support.gui import Browser, GuiServer, ground
from tests.support.jobs import chain
from tests.support.projects import TestProject

LARGE = 5_000
ORDINARY = 10
OPEN_PAGES = 10
IDLE = 10.0
#: Seconds and requests a second of a flood, and its clients if there are many.
FLOOD, FLOOD_RATE, MANY = 10.0, 1_000, 200
#: Most jobs of a project have ended.
STATES = {JobState.COMPLETED: 88, JobState.WAITING: 6, JobState.READY: 2, JobState.RUNNING: 2, JobState.FAILED: 2}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", choices=("pages", "idle", "floods"))
    given = parser.parse_args()
    with ground() as place:
        project = place.factory()
        flows = fill(project, given.jobs)
        gui = GuiServer(place.processes, project.env, "--port", "0")
        # A user needs longer to open the link.
        time.sleep(2)
        with closing(gui.operator()) as browser:
            if given.only in (None, "pages"):
                measure(browser, project, flows, given.repeats, [gui.process.pid, place.mongod.pid])
            if given.only in (None, "idle"):
                idle(gui, browser)
            if given.only in (None, "floods"):
                floods(gui, browser, project)


def fill(project: TestProject, number: int) -> list[str]:
    """Write jobs like submitted ones: one flow of 5,000, the others of 10."""
    submit_flow(chain(2))
    job, flow = project.db.jobs.find_one(sort=[("db_id", -1)]), project.db.flows.find_one()
    assert job is not None
    assert flow is not None
    random.seed(1)
    now, written = datetime.now(UTC), 0
    flows: list[dict[str, Any]] = []
    while written < number:
        size = ORDINARY if flows else LARGE
        uuids = [str(uuid4()) for _ in range(size)]
        moment = now - timedelta(seconds=random.uniform(0, 30 * 86_400))
        flow_id, jobs = str(uuid4()), []
        for position, uuid in enumerate(uuids):
            parents = [uuids[position - 1]] if position and size == ORDINARY else uuids[:1] if position else []
            (state,) = random.choices(list(STATES), list(STATES.values()))
            jobs.append(
                {
                    **{key: value for key, value in job.items() if key != "_id"},
                    "job": {**job["job"], "uuid": uuid, "hosts": [flow_id], "name": f"step {position % 7}"},
                    "uuid": uuid,
                    "db_id": str(100 + written + position),
                    "state": state.value,
                    "worker": random.choice(["local", "cluster", "gpu"]),
                    "parents": parents,
                    "created_on": moment,
                    "updated_on": moment + timedelta(seconds=random.uniform(0, 3600)),
                    "error": "Traceback\nRuntimeError: no convergence" if state is JobState.FAILED else None,
                }
            )
        project.db.jobs.insert_many(jobs)
        flows.append(
            {
                **{key: value for key, value in flow.items() if key != "_id"},
                "uuid": flow_id,
                "jobs": uuids,
                "name": f"flow of {size}",
                "ids": [[each["db_id"], each["uuid"], 1] for each in jobs],
                "updated_on": moment,
                "created_on": moment,
            }
        )
        written += size
    project.db.flows.insert_many(flows)
    return [each["uuid"] for each in flows[:2]]


def measure(browser: Browser, project: TestProject, flows: list[str], repeats: int, pids: list[int]) -> None:
    """Print the time of each page: of the first request, and of further ones, with the CPU time of both servers."""
    servers = [psutil.Process(pid) for pid in pids]

    def used() -> float:
        return 1000 * sum(times.user + times.system for times in (server.cpu_times() for server in servers))

    large, ordinary = flows
    pages = {
        "overview": "",
        "overview, month": "?span=month",
        "jobs": "jobs",
        "jobs, FAILED": "jobs?states=FAILED",
        "jobs, name": "jobs?name=step*",
        "jobs, worker and state": "jobs?workers=gpu&states=READY",
        "jobs of a flow": f"jobs?flow_ids={large}",
        "flows": "flows",
        "flow of 10 jobs": f"flows/{ordinary}",
        f"flow of {LARGE} jobs": f"flows/{large}",
        "job": "jobs/5000",
        "batches": "batches",
        "workers": "workers",
        "log": "log",
    }
    for name, path in pages.items():
        times: list[float] = []
        cpu: list[float] = []
        for _ in range(repeats):
            begin, used_before = time.perf_counter(), used()
            browser.page(f"/p/{project.name}/{path}")
            times.append(1000 * (time.perf_counter() - begin))
            cpu.append(used() - used_before)
        first = f"first {times[0]:5.0f} ms (CPU {cpu[0]:4.0f})"
        then = f"then {statistics.median(times[1:]):5.0f} ms (CPU {statistics.mean(cpu[1:]):4.0f})"
        print(f"{name:<24} {first}, {then}", flush=True)


def idle(gui: GuiServer, browser: Browser) -> None:
    """Print the CPU that the server takes for open pages when nothing happens."""

    def follow() -> None:
        with suppress(httpx.HTTPError), browser.stream("GET", "/p/main/live", timeout=IDLE + 10) as answer:
            for _ in answer.iter_raw():
                continue

    for _ in range(OPEN_PAGES):
        threading.Thread(target=follow, daemon=True).start()
    time.sleep(2)
    process = psutil.Process(gui.process.pid)
    before = process.cpu_times()
    time.sleep(IDLE)
    after = process.cpu_times()
    used = after.user + after.system - before.user - before.system
    memory = process.memory_info().rss / 2**20
    print(f"{OPEN_PAGES} open pages, idle: {100 * used / IDLE:.2f} % of a core, {memory:.0f} MB")


def floods(gui: GuiServer, browser: Browser, project: TestProject) -> None:
    """Print what becomes of 1,000 requests a second, from one address and from many, and what they cost."""
    (cookie,) = browser.cookies.jar
    pages = [f"/p/{project.name}/{path}" for path in ("", "jobs", "jobs/5000", "flows", "batches", "workers")]
    kinds = {
        "1 address": (["127.0.1.1"], pages),
        f"{MANY} addresses": ([f"127.0.2.{number + 1}" for number in range(MANY)], pages),
        f"{MANY} addresses, strangers": ([f"127.0.3.{number + 1}" for number in range(MANY)], pages),
    }
    process = psutil.Process(gui.process.pid)
    for name, (addresses, paths) in kinds.items():
        value = "" if "strangers" in name else f"{cookie.name}={cookie.value}"
        port = int(gui.base.rpartition(":")[2])
        memory, before = process.memory_info().rss, process.cpu_times()
        flooded = Flood(port, paths, int(FLOOD_RATE * FLOOD), addresses, MANY, FLOOD_RATE, value).run()
        after = process.cpu_times()
        used = after.user + after.system - before.user - before.system
        answers = ", ".join(f"{number:,} x {status or 'closed'}" for status, number in sorted(flooded.answers.items()))
        print(
            f"{FLOOD_RATE} requests a second for {FLOOD:.0f} s from {name}: {answers}; took {flooded.seconds:.1f} s; "
            f"median of served {1000 * flooded.delay(0.5, served=True):.0f} ms, "
            f"of refused {1000 * flooded.delay(0.5, served=False):.1f} ms; "
            f"CPU {100 * used / flooded.seconds:.0f} % of a core; "
            f"memory {memory / 2**20:.0f} -> {process.memory_info().rss / 2**20:.0f} MB",
            flush=True,
        )


if __name__ == "__main__":
    main()
