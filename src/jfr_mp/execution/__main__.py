"""``python -m jfr_mp.execution run DIR``: the worker command without the rest of the command line.

It is equivalent to ``jfr-mp execution run DIR``, without importing typer and rich for each job.
"""

from __future__ import annotations

import sys

from jfr_mp.errors import ExitCode
from jfr_mp.execution.run import run_job


def main(arguments: list[str]) -> int:
    """Run the job in a directory and return the exit code."""
    match arguments:
        case ["run", run_dir]:
            run_job(run_dir)
            return ExitCode.OK
    print("usage: python -m jfr_mp.execution run DIR", file=sys.stderr)
    return ExitCode.USAGE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
