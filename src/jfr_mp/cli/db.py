"""``jfr-mp db``: the managed database of a project that brings no database of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from jfr_mp.cli.options import JsonOption, ProjectOption
from jfr_mp.cli.output import doing, print_json
from jfr_mp.cli.session import load_project
from jfr_mp.errors import ConfigError, ExitCode

if TYPE_CHECKING:
    from jfr_mp.embedded import EmbeddedMongo

app = typer.Typer(no_args_is_help=True, help="Start and stop the database that `jfr-mp init` made.")


@app.command()
def start(project: ProjectOption = None) -> None:
    """Start the database, if it is down. `jfr-mp start` and `submit` do so by themselves."""
    mongo = _mongo(project)
    with doing("starting mongod"):
        started = mongo.start()
    typer.echo(f"{'Started' if started else 'Already running:'} mongod on {mongo.status().address}.")


@app.command()
def stop(project: ProjectOption = None) -> None:
    """Stop the database cleanly. Its data stay."""
    mongo = _mongo(project)
    with doing("stopping mongod"):
        stopped = mongo.stop()
    typer.echo("Stopped mongod; its data stay." if stopped else "mongod was not running.")


@app.command()
def status(as_json: JsonOption = False, project: ProjectOption = None) -> None:
    """Show whether the database runs, and where it is. The exit code is 0 when it runs and 5 when not."""
    state = _mongo(project).status()
    if as_json:
        print_json(
            {
                "running": state.running,
                "pid": state.pid,
                "address": state.address,
                "directory": str(state.directory),
                "log": str(state.log),
            }
        )
    else:
        typer.echo(f"mongod on {state.address} is {f'running, pid {state.pid}' if state.running else 'not running'}.")
        typer.echo(f"Data: {state.directory}\nLog:  {state.log}")
    raise typer.Exit(ExitCode.OK if state.running else ExitCode.NOT_RUNNING)


def _mongo(project: str | None) -> EmbeddedMongo:
    from jfr_mp.embedded import EmbeddedMongo

    chosen = load_project(project)
    if chosen.jfr_mp.embedded_db is None:
        raise ConfigError(
            f"project {chosen.name} has no database of its own to start or stop: "
            "its project file has no metadata.jfr_mp.embedded_db"
        )
    return EmbeddedMongo(chosen.jfr_mp.embedded_db)
