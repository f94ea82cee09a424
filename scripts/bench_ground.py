"""What the rows of `scripts/bench.py` share: the jobs, the ground on which they run, and what a row is."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from contest import Arena, Collections, Contestant

from jfr_mp.embedded import ManagedStores

JOBS = """
from jobflow import Flow, job

@job
def link(previous=0):
    return previous + 1

def chain(length):
    jobs = [link()]
    while len(jobs) < length:
        jobs.append(link(jobs[-1].output))
    return Flow(jobs, name="chain")

def many(number):
    return Flow([link(n) for n in range(number)], name="many")
"""

#: Seconds between two looks of both runners, and after which a row gives up.
DELAY, TIMEOUT = 1.0, 600.0

numbers = itertools.count()


@dataclass(frozen=True)
class Measured:
    """The figures of a row; None for what does not exist. The notes are printed below it."""

    ours: float
    peer: float | None = None
    floor: float | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Ground:
    """Where the rows run: a directory, a database and the two runners; and the number of jobs of the row `many`."""

    home: Path
    stores: ManagedStores
    ours: Contestant
    peer: Contestant
    jobs: int = 20_000

    @contextmanager
    def arena(self, contestant: Contestant, jobs: str = JOBS, /, **worker: Any) -> Iterator[tuple[Arena, Collections]]:
        """Lay out a project with a local worker and run the contestant in it."""
        home = self.home / f"{contestant.name}-{next(numbers)}"
        fields = {"type": "local", "scheduler_type": "shell", "work_dir": str(home / "work"), **worker}
        if "batch" in fields:
            fields["batch"] = {**fields["batch"], "work_dir": str(home / "batches"), "jobs_handle_dir": str(home / "h")}
        arena = Arena.lay_out(contestant, home, self.stores, jobs, {"local": fields}, DELAY)
        with arena.collections() as collections, arena.running():
            time.sleep(contestant.settle)
            yield arena, collections


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Parameters
    ----------
    name, summary
        What is measured.
    unit
        The unit of all its figures but the ratio.
    measure
        Measures it.
    more_is_better
        Whether a higher figure is better.
    times
        The least ratio to the peer; None for none.
    bound
        What the figure itself has to reach; None for nothing.
    long
        Whether it runs only if it is named.
    """

    name: str
    summary: str
    unit: str
    measure: Callable[[Ground], Measured]
    more_is_better: bool = False
    times: float | None = None
    bound: float | None = None
    long: bool = False

    @property
    def target(self) -> str:
        """The target as a text."""
        sign = ">=" if self.more_is_better else "<="
        texts = [f"{self.times:g} times the peer"] if self.times else []
        return " and ".join([*texts, f"{sign} {self.bound:g}"] if self.bound is not None else texts)


def seconds_for(arena: Arena, collections: Collections, flow: str) -> float:
    """Submit a flow and return the seconds from its entry in the database until it was written that it is COMPLETED."""
    known = [found["_id"] for found in collections["flows"].find({}, {"_id": 1})]
    arena.submit(flow)
    deadline = time.monotonic() + TIMEOUT
    while not (found := collections["flows"].find_one({"_id": {"$nin": known}, "state": "COMPLETED"})):
        if time.monotonic() > deadline:
            raise SystemExit(f"{arena.contestant.name}: {flow} did not end within {TIMEOUT:g} s")
        # The server has other things to do.
        time.sleep(0.2)
    took: float = (found["updated_on"] - found["created_on"]).total_seconds()
    return took


def processes_of(arena: Arena) -> list[psutil.Process]:
    """Return the processes of a project: those with its home directory."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("HOME") == str(arena.home):
                found.append(process)
        except psutil.Error:
            continue
    return found
