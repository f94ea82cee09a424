"""``python -m jfr_mp.execution run DIR``: the worker command without the rest of the command line.

It does what ``jfr-mp execution run DIR`` does and spares each job the import of typer and rich.
"""

from __future__ import annotations

import sys

from jfr_mp.errors import ExitCode
from jfr_mp.execution.run import run_job


def main(arguments: list[str]) -> int:
    """Run the job of one directory."""
    match arguments:
        case ["run", run_dir]:
            run_job(run_dir)
            return ExitCode.OK
    print("usage: python -m jfr_mp.execution run DIR", file=sys.stderr)
    return ExitCode.USAGE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
