"""``jfr-mp stop`` and ``kill``: stopping the processes of one project, or of all."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from jfr_mp.cli.commands import Options, with_examples
from jfr_mp.cli.errors import warn
from jfr_mp.cli.options import ProjectNameOption, number, require_directory_of
from jfr_mp.cli.printing import doing
from jfr_mp.cli.processes.fleet import WhereOptions, send
from jfr_mp.cli.project_access import load_or_salvage, load_project
from jfr_mp.errors import ConfigError, ExitCode, JfrMpError, NotRunning

if TYPE_CHECKING:
    from jfr_mp.config import Project

#: Stops the masters of a project on this machine.
Act = Callable[["Project"], Any]


class Projects(NamedTuple):
    """Which projects are stopped.

    Parameters
    ----------
    everything
        Whether all projects are.
    report
        A file for the names of the projects that were stopped.
    max_wait
        The seconds to wait for each; None for the time that the project allows.
    """

    everything: bool
    report: Path | None
    max_wait: float | None


def chosen_projects(
    all_projects: Annotated[
        bool, typer.Option("--all", "-a", help="The processes of all projects on this machine.")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(
            "--json",
            "-j",
            metavar="FILE",
            dir_okay=False,
            help="Write the names of the projects that were stopped to this file, as JSON; on other machines, the "
            "answers of the masters.",
        ),
    ] = None,
    max_wait: Annotated[
        int | None,
        number(
            "--max-wait",
            "-m",
            text="How long to wait; 0 for no limit. By default, as long as the stop_timeout of the project allows.",
            unit="SECONDS",
        ),
    ] = None,
    wait: Annotated[
        bool,
        typer.Option("--wait", "-w", help="Accepted as in jobflow-remote: the command always waits for the end."),
    ] = False,
) -> Projects:
    """Return which projects are stopped.

    Raises
    ------
    NotFound
        The directory of the file does not exist.
    """
    if report is not None:
        require_directory_of(report)
    return Projects(all_projects, report, float("inf") if max_wait == 0 else max_wait)


ProjectsOptions = Annotated[Projects, Options(chosen_projects)]


@with_examples(
    {
        "jfr-mp stop": "one project",
        "jfr-mp stop --all": "all projects, before a reboot for example",
        "jfr-mp stop --host login1": "one project on another machine",
    }
)
def stop(*, which: ProjectsOptions, where: WhereOptions, project: ProjectNameOption) -> None:
    """Stop the processes on this machine, or on others; each finishes the current step first.

    Jobs that run on a worker go on running, and the next start continues with them. Connections that
    `jfr-mp connect` opened stay open.
    """
    from jfr_mp.supervisor import control

    if where.is_elsewhere:
        if which.everything:
            raise typer.BadParameter("--all, for all projects on this machine, excludes --host and --all-hosts")
        send(load_project(project), where, "stop", file=which.report)
        return
    if not which.everything:
        project_or_place, broken = load_or_salvage(project)
        if broken is not None:
            _stop_despite(broken, project_or_place, which.max_wait)
            return
    _stop(lambda each: control.stop(each, which.max_wait), which, project, "Stopped", "stopping")


def _stop_despite(broken: ConfigError, project: Project, max_wait: float | None) -> None:
    """Stop the masters on this machine although the project file is broken, if there are any."""
    from jfr_mp.supervisor import control

    if not control.living_here(project):
        raise broken
    warn(f"the project file cannot be used: {broken}")
    with doing("stopping"):
        control.stop(project, max_wait)
    typer.echo(f"Stopped the processes of project {project.name} on this machine.")


def kill(*, which: ProjectsOptions, project: ProjectNameOption) -> None:
    """Kill the processes on this machine at once, if `jfr-mp stop` does not help.

    Current steps are cut off; the next start repairs what they left.
    """
    from jfr_mp.supervisor import control

    _stop(control.kill, which, project, "Killed", "killing")


def _stop(act: Act, which: Projects, name: str | None, done: str, busy: str) -> None:
    if which.everything:
        if name is not None:
            raise typer.BadParameter("--all and --project exclude each other")
        _stop_all(act, which, done, busy)
        return
    project = load_project(name)
    with doing(busy):
        act(project)
    _write(which.report, [project.name])
    typer.echo(f"{done} the processes of project {project.name} on this machine.")


def _write(report: Path | None, stopped: list[str]) -> None:
    if report is not None:
        report.write_text(json.dumps(stopped) + "\n")


def _stop_all(act: Act, which: Projects, done: str, busy: str) -> None:
    """Stop all projects side by side; one that cannot be stopped keeps no other from it.

    Raises
    ------
    NotRunning
        Nothing was running.
    typer.Exit
        A project could not be stopped.
    """
    from jfr_mp.config import ConfigManager

    manager = ConfigManager()
    with doing(busy):
        results = dict(_results(act, manager.projects))
    failed = {name: error for name, error in results.items() if error and not isinstance(error, NotRunning)}
    stopped = [name for name, error in results.items() if error is None]
    _write(which.report, stopped)
    for name in stopped:
        typer.echo(f"{done} the processes of project {name} on this machine.")
    for name, error in {**manager.broken, **failed}.items():
        warn(f"project {name}: {error}")
    if failed:
        raise typer.Exit(ExitCode.ERROR)
    if not stopped:
        raise NotRunning(f"no master of any project in {manager.projects_folder} is running on this machine")


def _results(act: Act, projects: Mapping[str, Project]) -> Iterator[tuple[str, JfrMpError | None]]:
    """Return what became of each project: None if it was stopped."""

    def attempt(project: Project) -> JfrMpError | None:
        try:
            act(project)
        except JfrMpError as error:
            return error
        return None

    with ThreadPoolExecutor(max(1, len(projects))) as pool:
        yield from zip(projects, pool.map(attempt, projects.values()), strict=True)
