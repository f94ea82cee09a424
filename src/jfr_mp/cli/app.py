"""The commands of `jfr-mp` and its global options.

The modules of the commands import little more than typer: what a command needs it imports when it runs, so that
``--help`` and shell completion answer at once.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from jfr_mp.cli.commands import Options, TreeOption, with_list, with_options
from jfr_mp.cli.errors import show_tracebacks, warn
from jfr_mp.cli.lazy import CommandRow, LazyGroup
from jfr_mp.cli.options import ProjectNameOption

_RUN, _JOBS, _SETUP = "Run", "Jobs and flows", "Set up"

#: The commands, in the order of the help. A summary is the first paragraph of the help of its command.
COMMANDS: dict[str, CommandRow] = {
    "init": CommandRow(
        "projects.init:init",
        "Make a project with a worker on this machine and a MongoDB server of its own, and start the server.",
        _SETUP,
    ),
    "start": CommandRow(
        "processes.lifecycle:start",
        "Start the processes that move jobs: a master, and one process or more for each role.",
        _RUN,
    ),
    "stop": CommandRow(
        "processes.stopping:stop",
        "Stop the processes on this machine, or on others; each finishes the current step first.",
        _RUN,
    ),
    "kill": CommandRow(
        "processes.stopping:kill",
        "Kill the processes on this machine at once, if `jfr-mp stop` does not help.",
        _RUN,
    ),
    "restart": CommandRow(
        "processes.lifecycle:restart",
        "Stop the processes on this machine and start the same roles again; all roles if no master was running.",
        _RUN,
    ),
    "reload": CommandRow(
        "processes.lifecycle:reload",
        "Have the processes on this machine, or on others, use the project file as it is now.",
        _RUN,
    ),
    "pause": CommandRow(
        "processes.fleet:pause",
        "Stop the role processes of a master after their current steps; the master waits for `jfr-mp resume`.",
        _RUN,
    ),
    "resume": CommandRow(
        "processes.fleet:resume",
        "Start the role processes of a master again after `jfr-mp pause` or `jfr-mp drain`.",
        _RUN,
    ),
    "drain": CommandRow(
        "processes.fleet:drain",
        "Take no new jobs: the role checkout stops, and the other roles finish the jobs that are under way.",
        _RUN,
    ),
    "scale": CommandRow(
        "processes.fleet:scale",
        "Change how many processes of a role a master keeps, until it is stopped; 0 ends the role there.",
        _RUN,
    ),
    "status": CommandRow(
        "processes.status:status",
        "Show the masters of a project, their role processes and the number of jobs in each state.",
        _RUN,
    ),
    "health": CommandRow(
        "processes.health:health",
        "Check the masters on this machine, for liveness and readiness probes.",
        _RUN,
    ),
    "logs": CommandRow(
        "processes.logs:logs",
        "Show the last entries of the logs on this machine, those of all processes in the order of their time.",
        _RUN,
    ),
    "log-level": CommandRow(
        "processes.logs:log_level",
        "Change the log level of masters and of their role processes, while they run.",
        _RUN,
    ),
    "run": CommandRow(
        "processes.lifecycle:run",
        "Do the work of all roles in one process, in this terminal, to try things out.",
        _RUN,
    ),
    "connect": CommandRow(
        "processes.connect:connect",
        "Log in at hosts that want the user for it, with a one-time password for example, once for all processes.",
        _RUN,
    ),
    "top": CommandRow(
        "screens.top:top",
        "Show the jobs live in this terminal, and act on them.",
        _RUN,
    ),
    "gui": CommandRow(
        "screens.gui:app",
        "Show the project in a web browser.",
        _RUN,
    ),
    "submit": CommandRow(
        "flows.submit:submit",
        "Submit a flow and print the db_ids of its jobs.",
        _JOBS,
    ),
    "events": CommandRow(
        "jobs.events:events",
        "Show what has happened to jobs, as text or as JSON lines.",
        _JOBS,
    ),
    "report": CommandRow(
        "reports.activity:report",
        "Show what jobs have done: core hours and times by worker, and failures by cause.",
        _JOBS,
    ),
    "job": CommandRow(
        "jobs.job:app",
        "Inspect and control jobs.",
        _JOBS,
    ),
    "flow": CommandRow(
        "flows.flow:app",
        "Inspect and control flows.",
        _JOBS,
    ),
    "batch": CommandRow(
        "jobs.batch:app",
        "Inspect the batches of batch workers.",
        _JOBS,
    ),
    "runner": CommandRow(
        "processes.runner:app",
        "Start and stop the processes, under the names of jobflow-remote.",
        _RUN,
    ),
    "project": CommandRow(
        "projects.project:app",
        "List projects and check them.",
        _SETUP,
    ),
    "bus": CommandRow(
        "processes.bus:app",
        "Manage the bus between machines.",
        _SETUP,
    ),
    "systemd": CommandRow(
        "processes.systemd:app",
        "Run the processes as services of systemd.",
        _SETUP,
    ),
    "notify": CommandRow(
        "processes.notify:app",
        "List and try the notifications of a project.",
        _SETUP,
    ),
    "db": CommandRow(
        "upkeep.db:app",
        "Start and stop the database that `jfr-mp init` made.",
        _SETUP,
    ),
    "backup": CommandRow(
        "upkeep.backup:app",
        "Copy the queue to files, and restore it from them.",
        _SETUP,
    ),
    "plugin": CommandRow(
        "plugins:app",
        "List the plug-ins that add commands.",
        _SETUP,
    ),
    "admin": CommandRow(
        "upkeep.admin:app",
        "Repair, reset and index the queue.",
        _SETUP,
    ),
    "execution": CommandRow(
        "processes.execution:app",
        "Run jobs on a worker. These commands are called by the runner.",
        None,
    ),
}


class _Root(LazyGroup):
    """The commands of the table, and those of plug-ins, which are looked for last."""

    rows = COMMANDS

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names of the commands."""
        from jfr_mp.cli.plugins import plugin_names

        return [*COMMANDS, *(name for name in plugin_names() if name not in COMMANDS)]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command, or None if there is none of that name."""
        if cmd_name in COMMANDS:
            return super().get_command(ctx, cmd_name)
        from jfr_mp.cli.plugins import load_plugin, offered_plugin, plugin_stub

        if self._listing:
            return plugin_stub(cmd_name)
        if ctx.resilient_parsing:
            return offered_plugin(cmd_name)
        return load_plugin(cmd_name, ctx.params.get("project"))


app = typer.Typer(
    cls=_Root,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"jfr-mp {version('jfr-mp')}")
        raise typer.Exit


def debugging(
    context: typer.Context,
    profile: Annotated[
        bool, typer.Option("--profile", "-prof", help="Print a profile of the command to standard error at its end.")
    ] = False,
    warn_project: Annotated[
        bool, typer.Option("--warn-project", "-wp", help="Warn of project files that are not valid.")
    ] = False,
) -> None:
    """Start what helps to find an error."""
    if profile:
        from jfr_mp.cli.profiling import start_profile

        context.call_on_close(start_profile())
    if warn_project:
        from jfr_mp.config import ConfigManager

        for name, error in ConfigManager().broken.items():
            warn(f"project {name}: {error}")


DebuggingOptions = Annotated[None, Options(debugging)]


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
    debugging: DebuggingOptions,
    full_exc: Annotated[bool, typer.Option("--full-exc", "-fe", help="Show the traceback of an error.")] = False,
    tree: TreeOption = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Run jobflow workflows on HPC clusters."""
    context.obj = project
    if full_exc:
        show_tracebacks()


app.callback()(with_options(global_options))
