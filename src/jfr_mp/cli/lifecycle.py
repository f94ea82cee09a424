"""``jfr-mp start``, ``stop``, ``kill``, ``restart`` and ``run``: the life of the processes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

import typer

from jfr_mp.cli.connect import connect_all
from jfr_mp.cli.help_text import with_examples
from jfr_mp.cli.options import (
    CheckoutOption,
    CompleteOption,
    LogLevelName,
    LogLevelOption,
    ProjectOption,
    QueueOption,
    TransferOption,
    wanted_roles,
)
from jfr_mp.cli.output import doing, suggest
from jfr_mp.cli.session import load_project
from jfr_mp.step_table import Role

if TYPE_CHECKING:
    from jfr_mp.config import Project

NumTransferOption = Annotated[
    int | None, typer.Option("--num-transfer", min=1, metavar="N", help="Processes of the transfer role.")
]
NumCompleteOption = Annotated[
    int | None, typer.Option("--num-complete", min=1, metavar="N", help="Processes of the complete role.")
]
ForegroundOption = Annotated[
    bool, typer.Option("--foreground", "-f", help="Stay in this terminal until Ctrl-C, or under a service manager.")
]
TicksOption = Annotated[int | None, typer.Option(min=1, metavar="N", help="Stop after this many rounds of a second.")]


@with_examples(
    {
        "jfr-mp start": "all roles, one process each",
        "jfr-mp start --num-transfer 4": "the same, with four processes for files",
        "jfr-mp start --transfer --queue": "on the machine that reaches the cluster, and",
        "jfr-mp start --checkout --complete": "on another one, with the same database",
    }
)
def start(  # noqa: PLR0913 (one parameter for each option)
    *,
    checkout: CheckoutOption = False,
    transfer: TransferOption = False,
    queue: QueueOption = False,
    complete: CompleteOption = False,
    num_transfer: NumTransferOption = None,
    num_complete: NumCompleteOption = None,
    foreground: ForegroundOption = False,
    log_level: LogLevelOption = None,
    project: ProjectOption = None,
) -> None:
    """Start the processes that move jobs: a master, and one or more for each role.

    Without a role flag all four roles start here. The command returns when every process is ready, or says which one
    is not and why. On a terminal it logs in first where a person has to, as `jfr-mp connect` does.
    """
    roles = wanted_roles(_chosen(checkout, transfer, queue, complete), num_transfer, num_complete)
    chosen = load_project(project)
    connect_all(chosen)
    _start(chosen, roles, log_level, foreground=foreground)


def stop(project: ProjectOption = None) -> None:
    """Stop the processes on this machine; each finishes the step in hand first.

    Jobs that run on a worker go on running. The next start takes them up again. Connections that were opened by
    `jfr-mp connect` stay open.
    """
    from jfr_mp.supervisor import control

    chosen = load_project(project)
    with doing("stopping"):
        control.stop(chosen)
    typer.echo(f"Stopped the processes of project {chosen.name} on this machine.")


def kill(project: ProjectOption = None) -> None:
    """Kill the processes on this machine at once, where stop does not help.

    Steps in hand are cut off; the next start repairs what they left.
    """
    from jfr_mp.supervisor import control

    chosen = load_project(project)
    with doing("killing"):
        control.kill(chosen)
    typer.echo(f"Killed the processes of project {chosen.name} on this machine.")


def restart(log_level: LogLevelOption = None, project: ProjectOption = None) -> None:
    """Stop the processes on this machine and start the same roles again.

    They read the project file anew, so this is how a change of it takes effect.
    """
    from jfr_mp.supervisor import control

    chosen = load_project(project)
    with doing("stopping"):
        stopped = control.stop(chosen)
    for master in stopped:
        _start(chosen, master.roles, log_level)


@with_examples(
    {
        "jfr-mp run": "until Ctrl-C",
        "jfr-mp run --ticks 10": "for ten seconds",
        "jfr-mp run --queue -log debug": "one role, saying all that it does",
    }
)
def run(  # noqa: PLR0913 (one parameter for each option)
    *,
    checkout: CheckoutOption = False,
    transfer: TransferOption = False,
    queue: QueueOption = False,
    complete: CompleteOption = False,
    ticks: TicksOption = None,
    log_level: LogLevelOption = None,
    project: ProjectOption = None,
) -> None:
    """Do the work of all roles in one process, in this terminal, for trying things out."""
    from jfr_mp.api.runner import Runner
    from jfr_mp.config import LogLevel
    from jfr_mp.embedded import ensure_running

    roles = wanted_roles(_chosen(checkout, transfer, queue, complete))
    chosen = load_project(project)
    ensure_running(chosen)
    runner = Runner(chosen.name, LogLevel(log_level.value) if log_level else None)
    try:
        runner.run(ticks=ticks, **{role.value: role in roles for role in Role})
    finally:
        runner.cleanup()


def _start(
    project: Project, roles: Mapping[Role, int], log_level: LogLevelName | None, *, foreground: bool = False
) -> None:
    from jfr_mp.supervisor import control

    level = log_level.value if log_level else project.log_level
    if foreground:
        control.start(project, roles, log_level=level, foreground=True)
        return
    with doing("starting"):
        master = control.start(project, roles, log_level=level)
    names = ", ".join(f"{number} {role}" for role, number in roles.items())
    typer.echo(f"Started project {project.name} (master pid {master.pid}): {names}.")
    suggest("`jfr-mp status` shows how they are, `jfr-mp logs -f` what they do, `jfr-mp stop` ends them.")


def _chosen(checkout: bool, transfer: bool, queue: bool, complete: bool) -> set[Role]:
    flags = {Role.CHECKOUT: checkout, Role.TRANSFER: transfer, Role.QUEUE: queue, Role.COMPLETE: complete}
    return {role for role, wanted in flags.items() if wanted}
