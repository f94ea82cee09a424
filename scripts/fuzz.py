#!/usr/bin/env python3
"""Feeds what reads bytes from outside with inputs that libFuzzer makes, guided by the lines of jfr-mp that they reach.

    scripts/fuzz.py [TARGET ...] [--seconds 30] [--list]

The targets are those of `tests/fuzz`, which mutate without looking. It needs atheris (`pip install atheris`), which is
not among the dependencies: there are wheels of it for few systems. It prints the inputs, the crashes, the hangs and the
peak memory of each target; an input that crashes or hangs is kept in the directory that is named then, and belongs into
``tests/fuzz/corpus/TARGET/``. Exit code 1 if there is one.
"""

from __future__ import annotations

import argparse
import logging
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

CORPUS = ROOT / "tests" / "fuzz" / "corpus"
#: Seconds that one input may take, megabytes of the process, and bytes of an input.
SLOWEST, LARGEST, LONGEST = 20, 2000, 4096


def run_target(name: str, options: list[str]) -> None:
    """Fuzz one target in this process, which libFuzzer ends."""
    import atheris

    with atheris.instrument_imports(include=["jfr_mp"]):
        from tests.fuzz.targets import TARGETS
    logging.disable()
    target, place = TARGETS[name], Path(tempfile.mkdtemp(prefix="jfr-mp-fuzz-"))

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


def fuzz(name: str, seconds: int, kept: Path) -> bool:
    """Fuzz one target in a process of its own; print the figures, and return whether all is well."""
    found, work = kept / name, kept / "corpus" / name
    found.mkdir(parents=True)
    shutil.copytree(CORPUS / name, work)
    limits = [f"-max_total_time={seconds}", f"-timeout={SLOWEST}", f"-rss_limit_mb={LARGEST}", f"-max_len={LONGEST}"]
    options = [*limits, "-print_final_stats=1", f"-artifact_prefix={found}/", str(work)]
    command = [sys.executable, __file__, "--in-process", name, *options]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    figures = {key: int(value) for key, value in re.findall(r"^stat::(\w+):\s+(\d+)", done.stderr, re.MULTILINE)}
    crashes, hangs = len(list(found.glob("crash-*"))), len(list(found.glob("timeout-*")))
    inputs, memory = figures.get("number_of_executed_units", 0), figures.get("peak_rss_mb", 0)
    print(f"{name:<14}{inputs:>9} inputs {crashes:3} crashes {hangs:3} hangs {memory:6} MB at the most", flush=True)
    if done.returncode:
        print(done.stderr[-2000:], file=sys.stderr)
    return done.returncode == 0


def main() -> int:
    """Fuzz the targets one after the other."""
    if sys.argv[1:2] == ["--in-process"]:
        run_target(sys.argv[2], sys.argv[3:])
    names = sorted(path.name for path in CORPUS.iterdir())
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="by default all of them")
    parser.add_argument("--seconds", type=int, default=30, help="for each target")
    parser.add_argument("--list", action="store_true", help="print the names of the targets")
    options = parser.parse_args()
    if unknown := set(options.targets) - set(names):
        parser.error(f"there is no target {', '.join(sorted(unknown))}; see --list")
    if options.list:
        print("\n".join(names))
        return 0
    kept = Path(tempfile.mkdtemp(prefix="jfr-mp-fuzzed-"))
    wrong = [name for name in options.targets or names if not fuzz(name, options.seconds, kept)]
    if wrong:
        print(f"inputs that are a fault: {kept}", file=sys.stderr)
    else:
        shutil.rmtree(kept)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
