"""Large flows and many jobs: rows of `scripts/bench.py`."""

from __future__ import annotations

import os
import re
import statistics
import time
from collections.abc import Mapping
from typing import Any

import psutil
from bench_ground import DELAY, JOBS, Ground, Measured, numbers, processes_of
from contest import Arena, Collections, Contestant

#: Jobs of the flow that is submitted, and how often; the best of these times counts.
LARGE, TIMES = 5000, 2
#: The flows among which the jobs are divided.
FLOWS = 10
#: Seconds without the end of any job after which the row gives up.
STANDSTILL = 300.0

_SUBMISSION = """
import sys, time
import benchmark_jobs, {package}

benchmark_jobs.link()
flow = benchmark_jobs.many({number})
submit = {package}.submit_flow
begun = time.perf_counter()
submit(flow)
print("took", time.perf_counter() - begun)
"""


def submit(ground: Ground) -> Measured:
    """Measure `submit_flow` of a large flow, without the imports of its script; the floor is the bare insertion."""
    times, floor = [], 0.0
    for contestant in (ground.ours, ground.peer):
        home = ground.home / f"{contestant.name}-{next(numbers)}"
        worker = {"type": "local", "scheduler_type": "shell", "work_dir": str(home / "work")}
        arena = Arena.lay_out(contestant, home, ground.stores, JOBS, {"local": worker}, DELAY)
        arena.call(*contestant.prepare)
        with arena.collections() as collections:
            times.append(min(_submission(arena, contestant) for _ in range(TIMES)))
            floor = floor or _insertion(collections)
    return Measured(*times, floor=floor)


def _submission(arena: Arena, contestant: Contestant) -> float:
    code = _SUBMISSION.format(package=contestant.package, number=LARGE)
    return float(arena.call(contestant.python, "-c", code).rpartition("took ")[2])


def _insertion(collections: Collections) -> float:
    """Return the seconds that it takes to insert the documents of a flow again, elsewhere."""
    flow = collections["flows"].find_one({})
    assert flow is not None
    jobs = list(collections["jobs"].find({"uuid": {"$in": flow["jobs"]}}))
    begun = time.perf_counter()
    collections["bare_jobs"].insert_many(jobs)
    collections["bare_flows"].insert_one(flow)
    return time.perf_counter() - begun


def many(ground: Ground) -> Measured:
    """Run many jobs, and compare the rate of the last twentieth of them with that of the first."""
    part = ground.jobs // 20
    with ground.arena(ground.ours) as (arena, collections):
        for _ in range(FLOWS):
            arena.submit(f"many({ground.jobs // FLOWS})")
        _until_ended(collections, part)
        before = _memory(arena)
        _until_ended(collections, ground.jobs // FLOWS * FLOWS)
        after = _memory(arena)
        ends = [job["updated_on"] for job in collections["jobs"].find({}, {"updated_on": 1}).sort("updated_on", 1)]
    seconds = [(times[-1] - times[0]).total_seconds() for times in (ends[:part], ends[-part:])]
    rates = {
        f"jobs/s, {which}": round((part - 1) / took, 2) for which, took in zip(("first", "last"), seconds, strict=True)
    }
    grown = {
        f"MB of {name}": f"{before[name]:.0f} -> {after[name]:.0f}" for name in sorted(before.keys() & after.keys())
    }
    return Measured(seconds[0] / seconds[1], notes={"jobs": ground.jobs, **rates, **grown})


def _until_ended(collections: Collections, number: int) -> None:
    ended, since = 0, time.monotonic()
    while ended < number:
        now = collections["jobs"].count_documents({"state": "COMPLETED"})
        if now > ended:
            ended, since = now, time.monotonic()
        if time.monotonic() - since > STANDSTILL:
            raise SystemExit(f"{ended} of {number} jobs have ended, and no other one for {STANDSTILL:g} s")
        time.sleep(1)


def _memory(arena: Arena) -> Mapping[str, float]:
    """Return the megabytes of each kind of process, each the median of three looks: jobs come and go."""
    looks: list[dict[str, float]] = []
    for _ in range(3):
        look: dict[str, float] = {}
        for process in processes_of(arena):
            try:
                name, size = _kind(process), process.memory_full_info().pss / 1e6
            except psutil.Error:
                continue
            if name:
                look[name] = look.get(name, 0.0) + size
        looks.append(look)
        time.sleep(0.3)
    return {name: statistics.median(look[name] for look in looks if name in look) for name in looks[-1]}


def _kind(process: Any) -> str | None:
    """Return what a process is, such as ``complete-1``; None for a job."""
    words = " ".join(process.cmdline())
    if "warm.server" in words:
        return None if process.pid == os.getsid(process.pid) else "the warm server"
    title = re.match(r"jfr-mp: (.+) of project ", words)
    return title[1] if title else None
