"""Good jobs beside jobs that attack the runner: a row of `scripts/bench.py`.

An attack changes what the job has left in its run directory, at the end of its process: it needs no option of the
project. In every second run, harmless jobs take the place of the attacks, so that the two rates differ only by what the
attacks do to the runner.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

from bench_ground import JOBS, TIMEOUT, Ground, Measured
from contest import Arena, Collections

#: The good jobs, and how often each of the two rates is measured.
GOOD, ROUNDS = 50, 5

ATTACKS = '''
import atexit, json, os, subprocess, sys

OUT, DATA = "jfremote_out.json", "remote_job_data.json"

def special(name, make):
    os.unlink(name)
    make(name)

def grow(name):
    with open(name, "ab") as file:
        file.truncate(10 * 2**30)

def change(name, **fields):
    with open(name) as file:
        document = json.load(file)
    (document[0] if isinstance(document, list) else document).update(fields)
    with open(name, "w") as file:
        json.dump(document, file)

def respond(**fields):
    with open(OUT) as file:
        document = json.load(file)
    document["response"].update(fields)
    with open(OUT, "w") as file:
        json.dump(document, file)

def leave():
    quiet = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    for number in range(3):
        subprocess.Popen(["sleep", "1000"], start_new_session=bool(number), **quiet)

# What cannot be read: endless, hanging, too large, too deep; then what belongs to another job or is no flow; links to
# files of others; texts for a terminal; processes that stay.
WAYS = {
    "fifo": lambda: special(OUT, os.mkfifo),
    "zero": lambda: special(OUT, lambda name: os.symlink("/dev/zero", name)),
    "long": lambda: special(OUT, lambda name: os.symlink("x" * 300, name)),
    "sparse": lambda: grow(OUT),
    "nested": lambda: open(OUT, "w").write('{"response": ' + "[" * 500 + "]" * 500 + "}"),
    "data-fifo": lambda: special(DATA, os.mkfifo),
    "data-zero": lambda: special(DATA, lambda name: os.symlink("/dev/zero", name)),
    "data-sparse": lambda: grow(DATA),
    "foreign": lambda: change(DATA, uuid="11111111-2222-4333-8444-555555555555"),
    "replace": lambda: respond(replace={"@module": "os", "@class": "system", "jobs": [5]}),
    "detour": lambda: respond(detour={"@module": "jobflow.core.flow", "@class": "Flow", "jobs": "x", "uuid": "../x"}),
    "time": lambda: change(OUT, end_time={"@module": "os", "@class": "abort"}),
    "link": lambda: os.symlink("/etc/passwd", "stolen"),
    "texts": lambda: special("queue.err", os.mkfifo),
    "leave": leave,
}

@job
def attacks(way):
    atexit.register(WAYS[way])
    return way

@job
def shows():
    raise RuntimeError(chr(27) + "]0;owned" + chr(7) + chr(0x202E))

def beside(attackers, good):
    """Return good jobs, and beside each of the first ones an attack or a harmless job."""
    others = [attacks(way) for way in WAYS] + [shows()]
    if not attackers:
        others = [link(0) for _ in others]
    goods = [link(n) for n in range(good)]
    for one in goods:
        one.name = "good"
    for one in others:
        one.name = "beside"
    return Flow([*others, *goods], name="beside")
'''


def attack(ground: Ground) -> Measured:
    """Measure how fast good jobs are beside attacks, as a share of how fast they are beside harmless jobs."""
    times: dict[bool, list[float]] = {False: [], True: []}
    with ground.arena(ground.ours, JOBS + ATTACKS) as (arena, collections):
        _seconds(arena, collections, attackers=False)
        for _ in range(ROUNDS):
            for attackers, found in times.items():
                found.append(_seconds(arena, collections, attackers=attackers))
        ended = collections["jobs"].aggregate(
            [{"$match": {"job.name": "beside"}}, {"$group": {"_id": "$state", "count": {"$sum": 1}}}]
        )
        states = {row["_id"]: row["count"] for row in ended}
    usual, attacked = (GOOD / statistics.median(found) for found in times.values())
    notes: dict[str, Any] = {
        "usual": f"{usual:.1f} good jobs/s",
        "beside attacks": f"{attacked:.1f} good jobs/s",
        "jobs beside": ", ".join(f"{count} {state}" for state, count in sorted(states.items())),
    }
    return Measured(attacked / usual, notes=notes)


def _seconds(arena: Arena, collections: Collections, *, attackers: bool) -> float:
    """Return the seconds until the last good job was COMPLETED; wait for the end of those beside it as well."""
    known = [flow["_id"] for flow in collections["flows"].find({}, {"_id": 1})]
    arena.submit(f"beside({attackers}, {GOOD})")
    flow = collections["flows"].find_one({"_id": {"$nin": known}})
    assert flow is not None
    jobs, deadline = collections["jobs"], time.monotonic() + TIMEOUT
    mine: dict[str, Any] = {"uuid": {"$in": flow["jobs"]}}
    ended = {**mine, "state": {"$in": ["COMPLETED", "FAILED", "REMOTE_ERROR"]}, "lock_id": None}
    while jobs.count_documents(ended) < len(flow["jobs"]):
        if time.monotonic() > deadline:
            raise SystemExit(f"{arena.contestant.name}: the jobs beside attacks did not end within {TIMEOUT:g} s")
        time.sleep(0.2)
    good = list(jobs.find({**mine, "job.name": "good", "state": "COMPLETED"}, {"updated_on": 1}))
    if len(good) < GOOD:
        raise SystemExit(f"{arena.contestant.name}: {GOOD - len(good)} good jobs beside attacks did not complete")
    took: float = (max(job["updated_on"] for job in good) - flow["created_on"]).total_seconds()
    return took
