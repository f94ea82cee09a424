"""``jfr-mp execution``: what runs on the worker."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from jfr_mp.cli.commands import OptionRow, Options, TableBuilder, command, new_group
from jfr_mp.cli.options import whole_number

app = new_group("Run jobs on a worker. These commands are called by the runner.")

_WHOLE = {"parser": whole_number(), "metavar": "N"}

#: The limits of a batch, with jobflow-remote's flags.
_LIMITS = (
    OptionRow("max_time", ("--max-time", "-mt"), "The age in seconds at which it takes no more jobs.", float | None),
    OptionRow("max_wait", ("--max-wait", "-mw"), "How many seconds it waits for another job.", float | None, 60.0),
    OptionRow("max_jobs", ("--max-jobs", "-mj"), "How many jobs it runs at most.", int | None, settings=_WHOLE),
    OptionRow(
        "parallel_jobs", ("--parallel-jobs", "-pj"), "How many jobs run at the same time.", int | None, settings=_WHOLE
    ),
    OptionRow("sleep_time", ("--sleep-time", "-st"), "The seconds between two looks for a job.", float | None),
)


def _limits(given: Any) -> Any:
    from jfr_mp.execution.batch_limits import BatchLimits

    return BatchLimits(**given)


@command(app)
def run(
    run_dir: Annotated[str, typer.Argument(metavar="DIR", help="The directory with the files of the job.")] = ".",
) -> None:
    """Run the job whose input is in a directory, and leave its output there."""
    # `jfr_mp.cli.main` has a short cut to this: only a command line that it does not recognise comes here.
    from jfr_mp.execution.run import run_job

    run_job(run_dir)


@command(app)
def run_batch(
    base_run_dir: Annotated[str, typer.Argument(help="The work_dir of the worker, with the directories of the jobs.")],
    files_dir: Annotated[str, typer.Argument(help="The jobs_handle_dir of the worker, with the pool of jobs.")],
    batch_uid: Annotated[str, typer.Argument(help="The identity of this batch.")],
    limits: Annotated[Any, Options(TableBuilder(_LIMITS, _limits))],
    cold: Annotated[bool, typer.Option("--cold", help="Start a new interpreter for each job.")] = False,
) -> None:
    """Run the jobs of a batch worker, several in this one batch, until there are no more."""
    from jfr_mp.execution.run_batch import run_batch as run_jobs

    run_jobs(base_run_dir, files_dir, batch_uid, limits, warm=not cold)
