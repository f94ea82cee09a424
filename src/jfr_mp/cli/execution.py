"""``jfr-mp execution``: what runs on the worker."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, help="What a worker runs; not meant to be typed.")


@app.callback()
def _group() -> None:
    """Keep the group a group while it has one command."""


@app.command()
def run(
    run_dir: Annotated[str, typer.Argument(metavar="DIR", help="The directory with the files of the job.")] = ".",
) -> None:
    """Run the job whose input lies in a directory, and leave its output there."""
    # `jfr_mp.cli.main` has a short cut to this: only a command line that it does not recognise comes here.
    from jfr_mp.execution.run import run_job

    run_job(run_dir)
