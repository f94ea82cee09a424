#!/usr/bin/env python3
"""Feeds what reads bytes from outside with inputs that libFuzzer makes, guided by the lines of jfr-mp that they reach.

    scripts/fuzz.py [TARGET ...] [--seconds 30 | --minutes 10] [--list]

The targets are those of `tests/fuzz`, which mutate without looking. They take turns, and each goes on from the inputs
that its earlier turns have found. It needs atheris (`pip install atheris`), which is not among the dependencies: there
are wheels of it for few systems. It prints the inputs, the crashes, the hangs and the peak memory of each target; an
input that crashes or hangs is kept in the directory that is named then, and belongs into ``tests/fuzz/corpus/TARGET/``.
Exit code 1 if there is one.
"""

from __future__ import annotations

import argparse
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

CORPUS = ROOT / "tests" / "fuzz" / "corpus"
#: Seconds that one input may take, megabytes of the process, and bytes of an input.
SLOWEST, LARGEST, LONGEST = 20, 2000, 4096
#: Seconds of a turn.
TURN = 30


@dataclass
class Figures:
    """What came of the turns of one target.

    Parameters
    ----------
    inputs
        How many inputs it read.
    crashes, hangs
        How many of them ended it, or took too long.
    memory
        The megabytes of its process at the most.
    failed
        Whether a turn has ended otherwise than by its time.
    """

    inputs: int = 0
    crashes: int = 0
    hangs: int = 0
    memory: int = 0
    failed: bool = False

    def __str__(self) -> str:
        counts = f"{self.inputs:>9} inputs {self.crashes:3} crashes {self.hangs:3} hangs"
        return f"{counts} {self.memory:6} MB at the most{' FAILED' if self.failed else ''}"


def run_target(name: str, options: list[str]) -> None:
    """Fuzz one target in this process, which libFuzzer ends."""
    import atheris

    with atheris.instrument_imports(include=["jfr_mp"]):
        from tests.fuzz.targets import TARGETS

        if module := TARGETS[name].module:
            import_module(module)
    logging.disable()
    target, place = TARGETS[name], Path(tempfile.mkdtemp())
    if target.module:
        # The first input makes a database or a server, which would count as its time.
        target.read(b"", place)

    def read(data: bytes) -> None:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        refusal = None
        try:
            target.read(data, place)
        except target.refuses as error:
            refusal = str(error)
        assert refusal != "", "refused without a reason"

    atheris.Setup([sys.argv[0], *options], read)
    atheris.Fuzz()


def fuzz(name: str, seconds: int, kept: Path, figures: Figures) -> None:
    """Fuzz one target for a turn, in a process of its own, from the inputs that earlier turns have kept."""
    found, work, home = kept / "found" / name, kept / "corpus" / name, kept / "home"
    if not work.exists():
        found.mkdir(parents=True)
        shutil.copytree(CORPUS / name, work)
    home.mkdir()
    limits = [f"-max_total_time={seconds}", f"-timeout={SLOWEST}", f"-rss_limit_mb={LARGEST}", f"-max_len={LONGEST}"]
    options = [*limits, "-print_final_stats=1", f"-artifact_prefix={found}/", str(work)]
    command = [sys.executable, __file__, "--in-process", name, *options]
    env = {**os.environ, "HOME": str(home), "TMPDIR": str(home)}
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, env=env)
    shutil.rmtree(home)
    read = {key: int(value) for key, value in re.findall(r"^stat::(\w+):\s+(\d+)", done.stderr, re.MULTILINE)}
    figures.inputs += read.get("number_of_executed_units", 0)
    figures.memory = max(figures.memory, read.get("peak_rss_mb", 0))
    figures.crashes, figures.hangs = len(list(found.glob("crash-*"))), len(list(found.glob("timeout-*")))
    if done.returncode or not read:
        figures.failed = True
        print(f"{name}:\n{done.stderr[-2000:]}", file=sys.stderr, flush=True)


@contextmanager
def database_server() -> Iterator[None]:
    """Run a server for the targets that read documents."""
    from tests.support.mongod import Mongod

    with tempfile.TemporaryDirectory(prefix="jfr-mp-fuzz-db-") as directory:
        server = Mongod(Path(directory) / "mongod", replica_set="fuzz")
        server.start()
        os.environ["JFR_MP_FUZZ_MONGODB"] = server.uri
        try:
            yield
        finally:
            server.close()


def take_turns(names: list[str], options: argparse.Namespace, kept: Path) -> dict[str, Figures]:
    """Fuzz the targets in turns until their time is over; a target that has failed has no more turns."""
    all_figures = {name: Figures() for name in names}
    left = round(options.minutes * 60 / len(names)) if options.minutes else options.seconds
    while left > 0 and (names := [name for name in names if not all_figures[name].failed]):
        seconds = min(left, TURN) if left >= 2 * TURN else left
        for name in names:
            fuzz(name, seconds, kept, all_figures[name])
            print(f"{name:<14}{all_figures[name]}", flush=True)
        left -= seconds
    return all_figures


def main() -> int:
    """Fuzz the targets in turns, and print the figures of all."""
    if sys.argv[1:2] == ["--in-process"]:
        run_target(sys.argv[2], sys.argv[3:])
    names = sorted(path.name for path in CORPUS.iterdir())
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="by default all of them")
    parser.add_argument("--seconds", type=int, default=30, help="for each target")
    parser.add_argument("--minutes", type=float, help="for all targets together, instead of --seconds")
    parser.add_argument("--list", action="store_true", help="print the names of the targets")
    options = parser.parse_args()
    if unknown := set(options.targets) - set(names):
        parser.error(f"there is no target {', '.join(sorted(unknown))}; see --list")
    if options.list:
        print("\n".join(names))
        return 0
    if find_spec("atheris") is None:
        parser.error(f"atheris is not installed: {sys.executable} -m pip install atheris")
    kept = Path(tempfile.mkdtemp(prefix="jfr-mp-fuzzed-"))
    chosen = options.targets or names
    with database_server() if any(name.startswith("records") for name in chosen) else nullcontext():
        figures = take_turns(chosen, options, kept)
    each = figures.values()
    total = Figures(sum(one.inputs for one in each), sum(one.crashes for one in each), sum(one.hangs for one in each))
    total.memory, total.failed = max(one.memory for one in each), any(one.failed for one in each)
    print(f"{len(figures)} targets{'':<4}{total}")
    if total.failed:
        print(f"inputs that are a fault: {kept / 'found'}", file=sys.stderr)
    else:
        shutil.rmtree(kept)
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main())
