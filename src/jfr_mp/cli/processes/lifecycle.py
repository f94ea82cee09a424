"""``jfr-mp start``, ``restart`` and ``run``: starting the processes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from jfr_mp.cli.commands import Options, with_examples, with_list
from jfr_mp.cli.errors import report, warn
from jfr_mp.cli.options import (
    JsonOption,
    LogFormatName,
    LogLevelName,
    LogLevelOption,
    ProjectOption,
    ProjectsOption,
    RolesOptions,
    ScaledRolesOptions,
    number,
)
from jfr_mp.cli.printing import doing, suggest
from jfr_mp.cli.processes.connect import ConnectOption, connect_all
from jfr_mp.cli.processes.fleet import EXIT_CODES as FLEET_EXIT_CODES
from jfr_mp.cli.processes.fleet import WhereOptions, done_here, send
from jfr_mp.errors import ExitCode, JfrMpError, NotRunning, StartFailed
from jfr_mp.step_table import ROLES, Role

if TYPE_CHECKING:
    from jfr_mp.api.runner import Runner
    from jfr_mp.config import Project
    from jfr_mp.supervisor.control import MasterInfo

#: Opens a runner in this process on a project, and closes it.
OpenRunner = Callable[["Project"], AbstractContextManager["Runner"]]


def runner_here(
    log_level: LogLevelOption = None,
    set_pid: Annotated[
        bool,
        typer.Option("--set-pid", "-pid", help="Let the process id be the name of this runner, which its locks have."),
    ] = False,
    connect_interactive: ConnectOption = False,
    daemonized: Annotated[
        bool,
        typer.Option(
            "--daemonized", "-d", help="Accepted as in jobflow-remote, without effect: a lock names its process anyway."
        ),
    ] = False,
) -> OpenRunner:
    """Return what opens a runner in this process."""

    @contextmanager
    def open_runner(project: Project) -> Iterator[Runner]:
        from jfr_mp.api.runner import Runner
        from jfr_mp.config import LogLevel
        from jfr_mp.embedded import ensure_running

        ensure_running(project)
        connect_all(project, needed=connect_interactive)
        level = LogLevel(log_level.value) if log_level else None
        runner = Runner(project.name, level, str(os.getpid()) if set_pid else None)
        try:
            yield runner
        finally:
            runner.cleanup()

    return open_runner


RunnerOptions = Annotated[OpenRunner, Options(runner_here)]


class Foreground(NamedTuple):
    """Whether the master stays in the terminal, and how it logs there.

    Parameters
    ----------
    wanted
        Whether it does.
    log_format
        A format of `jfr_mp.supervisor.control.start`.
    """

    wanted: bool
    log_format: str | None


def foreground(
    foreground: Annotated[
        bool, typer.Option("--foreground", "-f", help="Stay in this terminal until Ctrl-C, or under a service manager.")
    ] = False,
    log_format: Annotated[
        LogFormatName | None,
        typer.Option(
            "--log-format",
            metavar="FORMAT",
            help="With --foreground: text, json (on standard output), or journal (with priorities for systemd).",
        ),
    ] = None,
) -> Foreground:
    """Return whether the master stays in the terminal.

    Raises
    ------
    typer.BadParameter
        A format was given for a master in the background.
    """
    if log_format and not foreground:
        raise typer.BadParameter("--log-format needs --foreground; otherwise logs are files: see `jfr-mp logs`")
    return Foreground(foreground, log_format.value if log_format else None)


def measured_projects(
    projects: ProjectsOption,
    metrics: Annotated[
        str | None,
        typer.Option(
            "--metrics", metavar="HOST:PORT", help="Serve metrics for Prometheus there; by default as the project says."
        ),
    ] = None,
) -> Any:
    """Return the projects, with the address of the metrics if one was given.

    Raises
    ------
    typer.BadParameter
        It is not an address, or there are several projects, each of which needs one.
    """
    from jfr_mp.config.options import host_and_port

    if metrics is None:
        return projects
    if len(projects) > 1:
        raise typer.BadParameter("--metrics is for one project; set metadata.jfr_mp.metrics of each project instead")
    try:
        return [project.overridden(metrics=host_and_port(metrics)) for project in projects]
    except ValueError as error:
        raise typer.BadParameter(f"--metrics {metrics}: {error}") from None


MeasuredProjectsOption = Annotated["list[Project]", Options(measured_projects)]


@with_examples(
    {
        "jfr-mp start": "all roles, one process each",
        "jfr-mp start --num-transfer 4": "with four processes for files; --transfer 4 does the same",
        "jfr-mp start --transfer --queue": "on the machine that reaches the cluster, and",
        "jfr-mp start --checkout --complete": "on another machine, with the same database",
        "jfr-mp start -p one -p two": "several projects; --all-projects for all",
    }
)
def start(
    *,
    roles: ScaledRolesOptions,
    foreground: Annotated[Foreground, Options(foreground)],
    log_level: LogLevelOption = None,
    single: Annotated[
        bool,
        typer.Option(
            "--single", "-s", help="Accepted as in jobflow-remote: one process for each role, which is the default."
        ),
    ] = False,
    connect_interactive: ConnectOption = False,
    projects: MeasuredProjectsOption,
) -> None:
    """Start the processes that move jobs: a master, and one process or more for each role.

    Without a role flag, all roles start. The command returns when every process is ready; otherwise it says which
    process is not ready and why. On a terminal it first logs in at the hosts that want the user for it, as
    `jfr-mp connect` does.

    Each project has a master of its own. With --foreground, one process keeps the masters of all given projects.
    """
    if single and any(count > 1 for count in roles.values()):
        raise typer.BadParameter("--single excludes several processes of a role")
    for project in projects:
        _warn_of_exposed_password(project)
        connect_all(project, needed=connect_interactive)
    if foreground.wanted:
        _stay(projects, roles, log_level, foreground.log_format)
        return
    failures = [error for project in projects if (error := _failure_of(project, roles, log_level)) is not None]
    for error in failures[:-1]:
        report(error, with_traceback=False)
    if failures:
        raise failures[-1]


def _stay(
    projects: list[Project], roles: Mapping[Role, int], log_level: LogLevelName | None, log_format: str | None
) -> None:
    """Be the master of a project, or the parent of the masters of several projects."""
    from jfr_mp.config import LogLevel
    from jfr_mp.logs import LogFormat
    from jfr_mp.supervisor import control, several

    if len(projects) == 1:
        (project,) = projects
        level = log_level.value if log_level else project.log_level
        control.start(project, roles, log_level=level, foreground=True, log_format=log_format)
        return
    shown = LogFormat(log_format) if log_format else LogFormat.fitting(sys.stderr)
    level_of_all = LogLevel(log_level.value) if log_level else None
    if several.run_masters(projects, roles, log_level=level_of_all, log_format=shown) is not ExitCode.OK:
        raise StartFailed("a master was given up: see the log above")


def _failure_of(project: Project, roles: Mapping[Role, int], log_level: LogLevelName | None) -> JfrMpError | None:
    """Start a project in the background and return what kept it from starting, if anything did."""
    try:
        _start(project, roles, log_level)
    except JfrMpError as error:
        return error
    return None


@with_list("Exit codes", FLEET_EXIT_CODES)
def restart(
    *, where: WhereOptions, log_level: LogLevelOption = None, as_json: JsonOption = False, project: ProjectOption
) -> None:
    """Stop the processes on this machine and start the same roles again; all roles if no master was running.

    They read the project file again, so a change of it takes effect. Masters restart in place: one that a service
    manager or a container has started stays there. What `jfr-mp scale`, `pause` and `drain` have changed is kept.
    On this machine the command waits until the processes are ready again.
    """
    from jfr_mp.supervisor import control, renewal

    level = log_level.value if log_level else None
    if where.is_elsewhere:
        send(project, where, "restart", as_json=as_json, level=level)
        return
    try:
        with doing("restarting"):
            restarted = renewal.restart(project, level)
        done_here(restarted, "restart", f"Restarted project {project.name} on this machine.", as_json=as_json)
    except NotRunning:
        # The error names the machines on which the project does run.
        if control.masters(project):
            raise
        if not as_json:
            typer.echo("No master was running: starting all roles.")
        started = _started(project, dict.fromkeys(ROLES, 1), log_level)
        done_here([started], "restart", _started_text(project, started), as_json=as_json)


@with_list("Exit codes", FLEET_EXIT_CODES)
def reload(*, where: WhereOptions, as_json: JsonOption = False, project: ProjectOption) -> None:
    """Have the processes on this machine, or on others, use the project file as it is now.

    The file is validated first; if it cannot be used, the earlier one stays in effect. The role processes are then
    replaced one by one, each after its current step. Changes of the database, the log directory and the daemon
    directory need `jfr-mp restart`.
    """
    from jfr_mp.supervisor import renewal

    if where.is_elsewhere:
        send(project, where, "reload", as_json=as_json)
        return
    with doing("reloading"):
        reloaded = renewal.reload(project)
    done_here(reloaded, "reload", f"Reloaded project {project.name} on this machine.", as_json=as_json)


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
    open_runner: RunnerOptions,
    project: ProjectOption,
) -> None:
    """Do the work of all roles in one process, in this terminal, to try things out.

    Without a role flag, all roles are played.
    """
    with open_runner(project) as runner:
        runner.run(ticks=ticks, **{role.value: role in roles for role in Role})


def _warn_of_exposed_password(project: Project) -> None:
    from jfr_mp.config import ConfigManager
    from jfr_mp.config.files import exposes_password

    path = ConfigManager().get_project_data(project.name).filepath
    if exposes_password(path):
        warn(f"{path} contains a password and can be read by other users; to change it: chmod 600 {path}")


def _started(project: Project, roles: Mapping[Role, int], log_level: LogLevelName | None) -> MasterInfo:
    from jfr_mp.supervisor import control

    level = log_level.value if log_level else project.log_level
    with doing("starting"):
        return control.start(project, roles, log_level=level)


def _started_text(project: Project, master: MasterInfo) -> str:
    names = ", ".join(f"{count} {role}" for role, count in master.roles.items())
    return f"Started project {project.name} (master pid {master.pid}): {names}."


def _start(project: Project, roles: Mapping[Role, int], log_level: LogLevelName | None) -> None:
    typer.echo(_started_text(project, _started(project, roles, log_level)))
    suggest("Check progress with `jfr-mp status`; follow the logs with `jfr-mp logs -f`; stop with `jfr-mp stop`.")
