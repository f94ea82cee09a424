"""``jfr-mp start``, ``stop``, ``kill``, ``restart`` and ``run``: starting and stopping the processes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from jfr_mp.cli.commands import with_examples
from jfr_mp.cli.connect import connect_all
from jfr_mp.cli.options import (
    LogFormatName,
    LogLevelName,
    LogLevelOption,
    ProjectOption,
    RolesOptions,
    ScaledRolesOptions,
    number,
)
from jfr_mp.cli.printing import doing, suggest
from jfr_mp.errors import NotRunning
from jfr_mp.step_table import ROLES, Role

if TYPE_CHECKING:
    from jfr_mp.config import Project


@with_examples(
    {
        "jfr-mp start": "all roles, one process each",
        "jfr-mp start --num-transfer 4": "with four processes for files",
        "jfr-mp start --transfer --queue": "on the machine that reaches the cluster, and",
        "jfr-mp start --checkout --complete": "on another machine, with the same database",
    }
)
def start(
    *,
    roles: ScaledRolesOptions,
    foreground: Annotated[
        bool, typer.Option("--foreground", "-f", help="Stay in this terminal until Ctrl-C, or under a service manager.")
    ] = False,
    log_level: LogLevelOption = None,
    log_format: Annotated[
        LogFormatName | None,
        typer.Option(
            "--log-format",
            metavar="FORMAT",
            help="With --foreground: text, json (on standard output), or journal (with priorities for systemd).",
        ),
    ] = None,
    project: ProjectOption,
) -> None:
    """Start the processes that move jobs: a master, and one process or more for each role.

    Without a role flag, all roles start. The command returns when every process is ready; otherwise it says which
    process is not ready and why. On a terminal it first logs in at the hosts that want the user for it, as
    `jfr-mp connect` does.
    """
    if log_format and not foreground:
        raise typer.BadParameter("--log-format needs --foreground; otherwise logs are files: see `jfr-mp logs`")
    connect_all(project)
    if foreground:
        from jfr_mp.supervisor import control

        level = log_level.value if log_level else project.log_level
        shown = log_format.value if log_format else None
        control.start(project, roles, log_level=level, foreground=True, log_format=shown)
    else:
        _start(project, roles, log_level)


def stop(*, project: ProjectOption) -> None:
    """Stop the processes on this machine; each finishes the current step first.

    Jobs that run on a worker go on running, and the next start continues with them. Connections that
    `jfr-mp connect` opened stay open.
    """
    from jfr_mp.supervisor import control

    with doing("stopping"):
        control.stop(project)
    typer.echo(f"Stopped the processes of project {project.name} on this machine.")


def kill(*, project: ProjectOption) -> None:
    """Kill the processes on this machine at once, if `jfr-mp stop` does not help.

    Current steps are cut off; the next start repairs what they left.
    """
    from jfr_mp.supervisor import control

    with doing("killing"):
        control.kill(project)
    typer.echo(f"Killed the processes of project {project.name} on this machine.")


def restart(*, log_level: LogLevelOption = None, project: ProjectOption) -> None:
    """Stop the processes on this machine and start the same roles again; all roles if no master was running.

    They read the project file again, so a change of it takes effect.
    """
    from jfr_mp.supervisor import control

    try:
        with doing("stopping"):
            running = [master.roles for master in control.stop(project)]
    except NotRunning:
        # The error names the machines on which the project does run.
        if control.masters(project):
            raise
        typer.echo("No master was running: starting all roles.")
        running = [dict.fromkeys(ROLES, 1)]
    for roles in running:
        _start(project, roles, log_level)


@with_examples(
    {
        "jfr-mp run": "until Ctrl-C",
        "jfr-mp run --ticks 10": "for ten seconds",
        "jfr-mp run --queue -log debug": "one role, with everything that it does in its log",
    }
)
def run(
    *,
    roles: RolesOptions,
    ticks: Annotated[int | None, number("--ticks", text="Stop after N rounds of one second.", least=1)] = None,
    log_level: LogLevelOption = None,
    project: ProjectOption,
) -> None:
    """Do the work of all roles in one process, in this terminal, to try things out.

    Without a role flag, all roles are played.
    """
    from jfr_mp.api.runner import Runner
    from jfr_mp.config import LogLevel
    from jfr_mp.embedded import ensure_running

    ensure_running(project)
    runner = Runner(project.name, LogLevel(log_level.value) if log_level else None)
    try:
        runner.run(ticks=ticks, **{role.value: role in roles for role in Role})
    finally:
        runner.cleanup()


def _start(project: Project, roles: Mapping[Role, int], log_level: LogLevelName | None) -> None:
    from jfr_mp.supervisor import control

    level = log_level.value if log_level else project.log_level
    with doing("starting"):
        master = control.start(project, roles, log_level=level)
    names = ", ".join(f"{count} {role}" for role, count in roles.items())
    typer.echo(f"Started project {project.name} (master pid {master.pid}): {names}.")
    suggest("Check progress with `jfr-mp status`; follow the logs with `jfr-mp logs -f`; stop with `jfr-mp stop`.")
