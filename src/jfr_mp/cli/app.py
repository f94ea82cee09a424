"""The commands of `jfr-mp` and its global options.

The modules of the commands import little more than typer: what a command needs it imports when it runs, so that
``--help`` and shell completion answer at once.
"""

from __future__ import annotations

from typing import Annotated

import typer

from jfr_mp.cli import admin, connect, db, execution, flow, init, job, lifecycle, logs, project, status, submit
from jfr_mp.cli.commands import Group, command, with_list, with_options
from jfr_mp.cli.errors import show_tracebacks
from jfr_mp.cli.options import ProjectNameOption

_RUN, _JOBS, _SETUP = "Run", "Jobs and flows", "Set up"

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for _panel, _functions in {
    _SETUP: (init.init,),
    _RUN: (
        lifecycle.start,
        lifecycle.stop,
        lifecycle.kill,
        lifecycle.restart,
        status.status,
        logs.logs,
        logs.log_level,
        lifecycle.run,
        connect.connect,
    ),
    _JOBS: (submit.submit,),
}.items():
    for _function in _functions:
        command(app, panel=_panel)(_function)

app.add_typer(job.app, name="job", rich_help_panel=_JOBS)
app.add_typer(flow.app, name="flow", rich_help_panel=_JOBS)
app.add_typer(project.app, name="project", rich_help_panel=_SETUP)
app.add_typer(db.app, name="db", rich_help_panel=_SETUP)
app.add_typer(admin.app, name="admin", rich_help_panel=_SETUP)
app.add_typer(execution.app, name="execution", hidden=True)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"jfr-mp {version('jfr-mp')}")
        raise typer.Exit


@with_list(
    "First steps",
    {
        "jfr-mp init": "make a project with a worker and a database",
        "jfr-mp start": "start the processes that move jobs",
        "jfr-mp submit flow.py": "submit the flow that flow.py defines",
        "jfr-mp status": "check progress",
        "jfr-mp stop": "stop the processes; nothing is lost",
    },
)
def global_options(
    context: typer.Context,
    project: ProjectNameOption,
    full_exc: Annotated[bool, typer.Option("--full-exc", "-fe", help="Show the traceback of an error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Run jobflow workflows on HPC clusters."""
    context.obj = project
    if full_exc:
        show_tracebacks()


app.callback()(with_options(global_options))
