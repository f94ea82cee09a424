"""Commands of other packages: an entry point of the group ``jfr_mp.plugins`` names a `typer.Typer`.

The name of the entry point is that of the command. A plug-in is imported when its command is used, so that a broken one
disturbs no other command. Plug-ins of jobflow-remote are in `jfr_mp.cli.adopted_plugins`.
"""

from __future__ import annotations

import traceback
from collections.abc import Container
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, Any

import typer
import typer.main
from typer.core import TyperCommand

from jfr_mp.cli.adopted_plugins import adopted_commands, adopted_points, load_adopted
from jfr_mp.cli.commands import command, new_group
from jfr_mp.cli.options import JsonOption
from jfr_mp.cli.printing import print_json, print_sheet, print_text
from jfr_mp.cli.tables import Cell, Column, Sheet
from jfr_mp.errors import ConfigError, ExitCode, JfrMpError

GROUP = "jfr_mp.plugins"

#: The part of the list of commands in which plug-ins stand.
PANEL = "Plug-ins"

app = new_group("List the plug-ins that add commands.")


@command(app, "list")
def list_plugins(
    *,
    error: Annotated[
        bool, typer.Option("--error", "-e", help="Show the traceback of each plug-in that cannot be loaded.")
    ] = False,
    as_json: JsonOption = False,
    context: typer.Context,
) -> None:
    """List the installed plug-ins with the commands that they add, and test that they can be loaded.

    The exit code is 8 if one cannot. The setting `cli_load_plugins` turns all of them off.
    """
    own: Any = context.find_root().command
    tried = [(point, _error(point, own.rows)) for point in sorted(entry_points(group=GROUP))]
    tried += [(point, load_adopted(point)) for point in sorted(adopted_points())]
    errors = {point.name: failure for point, failure in tried if failure is not None}
    if as_json:
        print_json([{"name": point.name, "target": point.value, "error": _text(failure)} for point, failure in tried])
    elif tried:
        print_sheet(plugin_sheet(tried))
    else:
        typer.echo(f"There is no plug-in. A package adds one by an entry point of the group {GROUP}.")
    for name, failure in errors.items() if error else ():
        print_text(f"\n{name}:", "bold red")
        print_text("".join(traceback.format_exception(failure)))
    if errors:
        raise typer.Exit(ExitCode.CHECK_FAILED)


def plugin_sheet(tried: list[tuple[EntryPoint, Exception | None]]) -> Sheet:
    """Return the table of plug-ins, each with what kept it from being loaded."""
    return Sheet(
        columns=(Column("Name"), Column("Package"), Column("Target", breaks=True), Column("Result", breaks=True)),
        rows=tuple(
            (
                Cell(point.name),
                Cell(point.dist.name if point.dist else ""),
                Cell(point.value),
                Cell("ok", "green") if failure is None else Cell(_text(failure) or "", "red"),
            )
            for point, failure in tried
        ),
    )


def plugin_names() -> list[str]:
    """Return the commands of all plug-ins; none if the settings turn plug-ins off."""
    # The settings are not read for nothing: that takes longer than all else in a --help.
    found = [point.name for point in entry_points(group=GROUP)]
    adopted = bool(adopted_points())
    if (not found and not adopted) or _turned_off():
        return []
    return [*found, *(name for name in adopted_commands() if name not in found)] if adopted else found


def plugin_stub(name: str) -> Any:
    """Return what a list of commands shows of a plug-in; one of jfr-mp is not imported for it."""
    package = next((f" of {point.dist.name}" for point in entry_points(group=GROUP, name=name) if point.dist), "")
    return TyperCommand(name, help=f"A plug-in{package}.", rich_help_panel=PANEL)


def offered_plugin(name: str) -> Any | None:
    """Return the command of a plug-in for completion, in the middle of which nothing may be said of a broken one."""
    try:
        return load_plugin(name)
    except ConfigError:
        return plugin_stub(name)


def load_plugin(name: str, project: str | None = None) -> Any | None:
    """Return the command of a plug-in; None if there is no plug-in of that name.

    Parameters
    ----------
    name
        The command.
    project
        The project that the user has chosen before the command.

    Raises
    ------
    ConfigError
        It cannot be loaded.
    """
    found, adopted = list(entry_points(group=GROUP, name=name)), adopted_points()
    if not (found or adopted) or _turned_off():
        return None
    loaded = _own(found[0]) if found else adopted_commands(project).get(name)
    if loaded is not None:
        loaded.name, loaded.rich_help_panel = name, PANEL
    return loaded


def _own(point: EntryPoint) -> Any:
    try:
        return _load(point)
    except Exception as error:  # a plug-in can raise anything
        raise ConfigError(
            f"the plug-in {point.name} ({point.value}) cannot be loaded: {_text(error)}; "
            "see `jfr-mp plugin list --error`, and update or uninstall its package"
        ) from error


def _load(point: EntryPoint) -> Any:
    found = point.load()
    if not isinstance(found, typer.Typer):
        raise TypeError(f"{point.value} is not a typer.Typer")
    return typer.main.get_command(found)


def _error(point: EntryPoint, own: Container[str]) -> Exception | None:
    if point.name in own:
        return ConfigError(f"jfr-mp has a command {point.name}, which comes first")
    try:
        _load(point)
    except Exception as error:  # noqa: BLE001 - a plug-in can raise anything
        return error
    return None


def _text(error: Exception | None) -> str | None:
    if error is None:
        return None
    return str(error) if isinstance(error, JfrMpError) else f"{type(error).__name__}: {error}"


def _turned_off() -> bool:
    from jfr_mp.config import get_settings

    try:
        return not get_settings().cli_load_plugins
    except JfrMpError:  # the command fails by itself if it needs the settings
        return False
