"""``jfr-mp systemd``: the processes as services of systemd."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jfr_mp.cli.commands import Options, command, new_group, with_examples
from jfr_mp.cli.errors import warn
from jfr_mp.cli.options import ProjectOption, YesOption
from jfr_mp.cli.printing import print_text, suggest
from jfr_mp.errors import JfrMpError, NotFound
from jfr_mp.step_table import ROLES, Role

if TYPE_CHECKING:
    from jfr_mp.supervisor.units import Units

app = new_group("Run the processes as services of systemd.")

_USER_HELP = "Units of your own systemd, which needs no root. This is the default."
_SYSTEM_HELP = "Units of the system, which run without a login; needs root to install."
_RUN_AS_HELP = "The user of system units; by default the owner of the project file."
_DIRECTORY_HELP = "The directory of the unit files, instead of that of systemd."


def chosen_units(
    project: ProjectOption,
    user: Annotated[bool, typer.Option("--user", help=_USER_HELP)] = False,
    system: Annotated[bool, typer.Option("--system", help=_SYSTEM_HELP)] = False,
    run_as: Annotated[str | None, typer.Option("--run-as", metavar="USER", help=_RUN_AS_HELP)] = None,
) -> Any:
    """Return the units of a project."""
    from jfr_mp.config import ConfigManager
    from jfr_mp.supervisor.units import Scope, Units, systemd_version

    if user and system:
        raise typer.BadParameter("give either --user or --system")
    if run_as and not system:
        raise typer.BadParameter("--run-as needs --system; units of your own systemd run as you")
    owner = ConfigManager().get_project_data(project.name).filepath.owner()
    scope = Scope.SYSTEM if system else Scope.USER
    return Units(project, scope, run_as or owner, systemd_version())


UnitsOption = Annotated["Units", Options(chosen_units)]
RolesOption = Annotated[
    list[Role] | None,
    typer.Option(
        "--role",
        metavar="ROLE",
        help=f"A service for this role alone; can be given several times. Roles: {', '.join(ROLES)}.",
    ),
]
DirectoryOption = Annotated[Path | None, typer.Option("--directory", metavar="DIR", help=_DIRECTORY_HELP)]


@command(app)
@with_examples(
    {
        "jfr-mp systemd install": "one service with all roles, of your own systemd",
        "jfr-mp systemd install --role transfer --role queue": "one service for each of two roles",
        "sudo jfr-mp systemd install --system --run-as alice": "a service of the system",
    }
)
def install(*, role: RolesOption = None, directory: DirectoryOption = None, units: UnitsOption) -> None:
    """Write the unit files of a project: a service for all roles, and a template for services of one role each.

    The files contain the current PATH and the location of the project file. Repeat the command if they have changed, or
    if workers were added to the project: the sandbox depends on whether jobs run on this machine.
    """
    target = directory or units.scope.directory
    try:
        target.mkdir(parents=True, exist_ok=True)
        for name, text in units.files().items():
            if (target / name).is_symlink():
                raise JfrMpError(
                    f"{target / name} is a link to {(target / name).readlink()}, as of a masked unit; remove the link "
                    "first, as `systemctl unmask` does"
                )
            (target / name).write_text(text, encoding="utf-8")
            print_text(f"Wrote {target / name}")
    except OSError as error:
        raise JfrMpError(f"{target}: the unit files cannot be written: {error.strerror}; use --user, or root") from None
    if directory is None:
        try:
            units.make_directories()
        except (OSError, KeyError) as error:
            warn(f"the directories of the project cannot be made for user {units.user}; make them first: {error}")
        _reload_systemd(units)
    systemctl, names = " ".join(units.scope.systemctl), " ".join(units.names(tuple(role or ())))
    typer.echo(f"Start now and at each boot:\n  {systemctl} enable --now {names}")
    if units.scope.value == "user":
        suggest("`loginctl enable-linger` keeps the services running when you log out.")


@command(app)
def uninstall(*, directory: DirectoryOption = None, yes: YesOption = False, units: UnitsOption) -> None:
    """Stop and disable the services of a project, and remove their unit files.

    The role processes finish their current steps; jobs go on.
    """
    target = directory or units.scope.directory
    found = [target / name for name in units.files() if (target / name).exists()]
    if not found:
        raise NotFound(f"{target} has no units of project {units.project.name}; `jfr-mp systemd install` writes them")
    if not yes:
        names = ", ".join(path.name for path in found)
        typer.confirm(f"Stop the services of project {units.project.name} and remove {names}?", abort=True, err=True)
    if directory is None:
        _systemctl(units, "disable", "--now", *units.names(), *units.names(tuple(Role)))
    for path in found:
        path.unlink()
        print_text(f"Removed {path}")
    if directory is None:
        _reload_systemd(units)


@command(app)
def show(*, units: UnitsOption) -> None:
    """Print the unit files of a project, as `jfr-mp systemd install` would write them."""
    for name, text in units.files().items():
        print_text(f"# {units.scope.directory / name}\n{text}")


def _reload_systemd(units: Units) -> None:
    _systemctl(units, "daemon-reload")


def _systemctl(units: Units, *arguments: str) -> None:
    """Run systemctl; if there is no systemd to talk to, say so and go on, because the files are what matters."""
    argv = [*units.scope.systemctl, *arguments]
    if shutil.which(argv[0]) is None:
        warn("there is no systemctl on this machine; the unit files are of use on machines with systemd")
        return
    done = subprocess.run(argv, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        warn(f"`{' '.join(argv)}` failed: {done.stderr.strip() or f'exit status {done.returncode}'}")
