"""The command line, `jfr-mp`.

This module imports nothing but the standard library: a worker starts it once for each job, and what it imports before
the job's own packages is the latency of that job.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Sequence

from jfr_mp.errors import ExitCode


def main() -> int:
    """Run `jfr-mp` with the arguments of this process.

    Returns
    -------
    int
        The exit code, one of `jfr_mp.errors.ExitCode`.
    """
    run_dir = worker_run_dir(sys.argv[1:])
    try:
        if run_dir is None:
            # Imports make many objects and no garbage: looking for it at every 700th object costs a tenth of the start.
            gc.set_threshold(50_000)
            from jfr_mp.cli.app import app

            app(prog_name="jfr-mp")
        else:
            from jfr_mp.execution.run import run_job

            run_job(run_dir)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the top of the process: a clear message, and an exit code
        from jfr_mp.cli.errors import report, wants_traceback

        # What a worker prints ends up in the job's queue.err, and the command cannot be repeated for a traceback.
        return report(error, with_traceback=run_dir is not None or wants_traceback())
    finally:
        if run_dir is None:
            # The memory goes with the process: looking for garbage as it ends costs another tenth.
            gc.freeze()
    return ExitCode.OK


def worker_run_dir(arguments: Sequence[str]) -> str | None:
    """Return the directory in ``[-fe] execution run [DIR]``, or None if the arguments are anything else.

    The command that a worker starts for every job is recognised here, without the command line and all it imports.
    """
    words = [word for word in arguments if word not in ("-fe", "--full-exc")]
    match words:
        case ["execution", "run"]:
            return "."
        case ["execution", "run", run_dir] if not run_dir.startswith("-"):
            return run_dir
    return None
