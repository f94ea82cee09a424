"""Plug-ins of jobflow-remote's command line: they register themselves with an `app` of it, which is the one here.

An entry point of the group ``jobflow_remote.plugins`` names a module with a function ``setup_jf_plugin``. What such a
module imports of jobflow-remote resolves to jfr-mp (`jfr_mp.compat`), as far as it is in the table there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, NoReturn

import typer
import typer.main

from jfr_mp.cli.errors import say
from jfr_mp.cli.printing import doing, print_text
from jfr_mp.errors import ConfigError, ExitCode

if TYPE_CHECKING:
    from jfr_mp.api.configuration import ConfigManager
    from jfr_mp.api.controller import JobController

GROUP = "jobflow_remote.plugins"
_SETUP = "setup_jf_plugin"

#: What plug-ins of jobflow-remote add their commands to.
app = typer.Typer()

JFRTyper = typer.Typer

#: What kept each plug-in that was tried from registering its commands, by its target.
_tried: dict[str, Exception | None] = {}


def adopted_points() -> list[EntryPoint]:
    """Return the plug-ins of jobflow-remote that are installed."""
    return list(entry_points(group=GROUP))


def adopted_commands(project: str | None = None) -> dict[str, Any]:
    """Return the commands that plug-ins of jobflow-remote add; a plug-in that cannot be loaded adds none.

    Parameters
    ----------
    project
        The project on which they are to work, if the user has chosen one.
    """
    if project:
        os.environ["JFREMOTE_PROJECT"] = project
    for point in adopted_points():
        load_adopted(point)
    # typer wants a callback if there is a single command, or it would be the whole application.
    if not app.registered_commands and not app.registered_groups:
        return {}
    app.callback()(lambda: None)
    group: Any = typer.main.get_group(app)
    return dict(group.commands)


def load_adopted(point: EntryPoint) -> Exception | None:
    """Let a plug-in register its commands, once; return what kept it from doing so."""
    from jfr_mp.compat import install

    if point.value in _tried:
        return _tried[point.value]
    error: Exception | None = None
    try:
        if not install():
            raise ConfigError("jobflow-remote is installed beside jfr-mp, and the plug-in belongs to it")
        getattr(point.load(), _SETUP)()
    except Exception as reason:  # noqa: BLE001 - a plug-in can raise anything
        error = reason
    _tried[point.value] = error
    return error


# What plug-ins import from `jobflow_remote.cli.utils`


def get_config_manager() -> ConfigManager:
    """Return the projects of the user."""
    from jfr_mp.api.configuration import ConfigManager

    return ConfigManager()


def get_job_controller() -> JobController:
    """Return a controller of the chosen project."""
    from jfr_mp.api.controller import JobController

    return JobController.from_project_name()


@contextmanager
def loading_spinner(processing: bool = True) -> Iterator[None]:
    """Show on a terminal that something takes its time."""
    with doing("processing"):
        yield


def exit_with_error_msg(message: object, code: int = ExitCode.ERROR, **_: object) -> NoReturn:
    """Print an error and exit."""
    say("Error", str(message))
    raise typer.Exit(code)


def exit_with_warning_msg(message: object, code: int = ExitCode.OK, **_: object) -> NoReturn:
    """Print a warning and exit."""
    say("Warning", str(message))
    raise typer.Exit(code)


def print_success_msg(message: object = "operation completed", **_: object) -> None:
    """Print that something is done."""
    print_text(str(message), "green")


def get_console() -> Any:
    """Return a rich console on standard output."""
    from rich.console import Console

    return Console()
