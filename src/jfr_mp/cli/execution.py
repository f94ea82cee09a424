"""``jfr-mp execution``: what runs on the worker."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="What a worker runs; not meant to be typed.")


@app.command()
def run(
    run_dir: Annotated[str, typer.Argument(metavar="DIR", help="The directory with the files of the job.")] = ".",
) -> None:
    """Run the job whose input lies in a directory, and leave its output there."""
    # `jfr_mp.cli.main` has a short cut to this: only a command line that it does not recognise comes here.
    from jfr_mp.execution.run import run_job

    run_job(run_dir)


@app.command()
def run_batch(  # noqa: PLR0913, PLR0917 - one parameter for each of jobflow-remote's options
    base_run_dir: Annotated[str, typer.Argument(help="The work_dir of the worker, with the directories of the jobs.")],
    files_dir: Annotated[str, typer.Argument(help="The jobs_handle_dir of the worker, with the pool of jobs.")],
    batch_uid: Annotated[str, typer.Argument(help="The identity of this batch process.")],
    max_time: Annotated[
        float | None, typer.Option("--max-time", "-mt", help="The age in seconds at which it takes no more jobs.")
    ] = None,
    max_wait: Annotated[
        float | None, typer.Option("--max-wait", "-mw", help="The seconds for which it waits for another job.")
    ] = 60,
    max_jobs: Annotated[int | None, typer.Option("--max-jobs", "-mj", help="The most jobs that it runs.")] = None,
    parallel_jobs: Annotated[
        int | None, typer.Option("--parallel-jobs", "-pj", help="The jobs that run at the same time.")
    ] = None,
    sleep_time: Annotated[
        float | None, typer.Option("--sleep-time", "-st", help="The seconds between two looks for a job.")
    ] = None,
) -> None:
    """Run the jobs of a batch worker, several in this one allocation, until there are no more."""
    from jfr_mp.execution.batch_limits import BatchLimits
    from jfr_mp.execution.run_batch import run_batch as run_jobs

    run_jobs(base_run_dir, files_dir, batch_uid, BatchLimits(max_time, max_wait, max_jobs, parallel_jobs, sleep_time))
