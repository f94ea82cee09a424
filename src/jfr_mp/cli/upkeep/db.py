"""``jfr-mp db``: the database that jfr-mp manages for a project without a server of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from jfr_mp.cli.commands import command, new_group, with_list
from jfr_mp.cli.options import JsonOption, ProjectOption
from jfr_mp.cli.printing import doing, print_json
from jfr_mp.errors import ConfigError, ExitCode

if TYPE_CHECKING:
    from jfr_mp.config import Project
    from jfr_mp.embedded import EmbeddedMongo

app = new_group("Start and stop the database that `jfr-mp init` made.")


@command(app)
def start(*, project: ProjectOption) -> None:
    """Start the database if it is down. `jfr-mp start` and `jfr-mp submit` start it themselves."""
    mongo = _mongo(project)
    with doing("starting mongod"):
        started = mongo.start()
    typer.echo(f"{'Started' if started else 'Already running:'} mongod on {mongo.status().address}.")


@command(app)
def stop(*, project: ProjectOption) -> None:
    """Stop the database cleanly. Its data are kept."""
    mongo = _mongo(project)
    with doing("stopping mongod"):
        stopped = mongo.stop()
    typer.echo("Stopped mongod; its data are kept." if stopped else "mongod was not running.")


@command(app)
@with_list("Exit codes", {"0": "the database is running", "5": "it is not running"})
def status(*, as_json: JsonOption = False, project: ProjectOption) -> None:
    """Show whether the database is running, and where it is."""
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


def _mongo(project: Project) -> EmbeddedMongo:
    from jfr_mp.embedded import EmbeddedMongo

    if project.jfr_mp.embedded_db is None:
        raise ConfigError(
            f"jfr-mp does not manage the database of project {project.name}: its project file has no "
            "metadata.jfr_mp.embedded_db"
        )
    return EmbeddedMongo(project.jfr_mp.embedded_db)
