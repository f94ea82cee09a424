#!/usr/bin/env python3
"""How fast jfr-mp is, beside jobflow-remote 1.0.1: all in one run, on one mongod, with real processes.

    scripts/bench.py [ROW ...] [--jobs NUMBER] [--json FILE] [--picture FILE] [--peer-python PYTHON] [--list]

Each row of the table measures jfr-mp and, where it can do the same, jobflow-remote; it prints both, the ratio, the
target, and the floor: what the work itself takes without any runner. Without names all rows but `many` run, in less
than half an hour on two cores. Run it with a Python that has jfr-mp[embedded]; the peer is installed into a virtual
environment of its own (--peer-python names an existing one instead).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench_ground import Ground, Measured, Row
from bench_picture import draw
from bench_rows import ROWS
from contest import PEER, contestants, database


@dataclass(frozen=True)
class Result:
    """One line of the table."""

    row: Row
    measured: Measured

    @property
    def ratio(self) -> float | None:
        """How many times better jfr-mp is than jobflow-remote."""
        ours, peer = self.measured.ours, self.measured.peer
        if peer is None or not ours or not peer:
            return None
        return ours / peer if self.row.more_is_better else peer / ours

    @property
    def reached(self) -> bool:
        """Whether jfr-mp reaches all targets of the row."""
        ours, row = self.measured.ours, self.row
        bound = row.bound is None or (ours >= row.bound if row.more_is_better else ours <= row.bound)
        return bound and (row.times is None or (self.ratio is not None and self.ratio >= row.times))

    @property
    def attained(self) -> float | None:
        """How many times the nearest of its targets the row reaches; None if it cannot be said."""
        ours, row = self.measured.ours, self.row
        shares = [self.ratio / row.times] if row.times is not None and self.ratio is not None else []
        if row.bound is not None and ours:
            shares.append(ours / row.bound if row.more_is_better else row.bound / ours)
        return min(shares, default=None)

    def line(self) -> str:
        """Return the line for the terminal."""
        cells = [
            f"{self.row.name:<20}",
            f"{_number(self.measured.ours):>9}",
            f"{_number(self.measured.peer):>9}",
            f"{_number(self.ratio):>8}",
            f"{_number(self.measured.floor):>9}",
            f" {self.row.unit:<9}",
            f"{self.row.target:<24}",
            "reached" if self.reached else "MISSED",
        ]
        return "".join(cells)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def main() -> int:
    """Run the rows and print the table."""
    options = parse()
    if options.list:
        for row in ROWS:
            print(f"{row.name:<20}{row.summary}{' (only if it is named)' if row.long else ''}")
        return 0
    rows = [row for row in ROWS if row.name in options.rows or not (options.rows or row.long)]
    began, results = time.monotonic(), []
    with tempfile.TemporaryDirectory(prefix="jfr-mp-bench-") as name, database(Path(name)) as stores:
        ours, peer = contestants(options.peer_python)
        print(f"{'':<20}{'jfr-mp':>9}{'peer':>9}{'ratio':>8}{'floor':>9} {'unit':<9}{'target':<24}", flush=True)
        for row in rows:
            results.append(Result(row, row.measure(Ground(Path(name), stores, ours, peer, options.jobs))))
            print(results[-1].line(), flush=True)
            for what, value in results[-1].measured.notes.items():
                print(f"{'':<20}{what}: {value}", flush=True)
    print(f"{len(results)} rows in {time.monotonic() - began:.0f} s; {machine()}")
    figures = document(results)
    if options.json:
        Path(options.json).write_text(json.dumps(figures, indent=2) + "\n")
    if options.picture:
        draw(figures["rows"], figures["machine"], Path(options.picture))
    return 0


def document(results: list[Result]) -> dict[str, Any]:
    """Return what the JSON file contains."""
    rows = {
        result.row.name: {
            **asdict(result.measured),
            "ratio": result.ratio,
            "unit": result.row.unit,
            "target": result.row.target,
            "reached": result.reached,
            "attained": result.attained,
        }
        for result in results
    }
    return {"machine": machine(), "rows": rows}


def machine() -> str:
    """Return what the figures depend on."""
    packages = ", ".join(f"{name} {version(name)}" for name in ("jfr-mp", "jobflow", "pymongo"))
    load = os.getloadavg()[0]
    return f"{os.cpu_count()} cores, Python {platform.python_version()}, {packages}, peer {PEER}, load {load:.1f}"


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW", help="which rows to run; by default all but long ones")
    parser.add_argument("--jobs", type=int, default=20_000, help="how many jobs the row `many` runs; at least 200")
    parser.add_argument("--list", action="store_true", help="print the rows and stop")
    parser.add_argument("--json", metavar="FILE", help="write the figures to a file")
    parser.add_argument("--picture", metavar="FILE", help="draw them, with matplotlib, into a file such as bench.svg")
    parser.add_argument("--peer-python", help=f"a Python that has {PEER}")
    options = parser.parse_args()
    if unknown := set(options.rows) - {row.name for row in ROWS}:
        parser.error(f"unknown row {', '.join(sorted(unknown))}; --list shows the rows")
    return options


if __name__ == "__main__":
    sys.exit(main())
