"""A group whose commands are imported when they are used: its help and the other commands do without them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
import typer.main
from typer.core import TyperCommand

from jfr_mp.cli.commands import Group, command

_Context = Any


@dataclass(frozen=True)
class CommandRow:
    """One command of a lazy group.

    Parameters
    ----------
    target
        The function or the group of commands that implements it, as ``module:name`` below `jfr_mp.cli`.
    summary
        The first paragraph of its help.
    panel
        The part of the list of commands in which it stands; None if the list does not show it.
    """

    target: str
    summary: str
    panel: str | None = None

    def load(self, name: str) -> Any:
        """Import the implementation and return it as a command."""
        module, _, attribute = self.target.partition(":")
        found = getattr(import_module(f"jfr_mp.cli.{module}"), attribute)
        if isinstance(found, typer.Typer):
            loaded: Any = typer.main.get_group(found)
        else:
            single = typer.Typer(add_completion=False)
            command(single, name, panel=self.panel)(found)
            loaded = typer.main.get_command(single)
        loaded.name, loaded.hidden, loaded.rich_help_panel = name, self.panel is None, self.panel
        return loaded

    def stub(self, name: str) -> TyperCommand:
        """Return what a list of commands shows of it."""
        return TyperCommand(name, help=self.summary, hidden=self.panel is None, rich_help_panel=self.panel)


class LazyGroup(Group):
    """A group whose commands are the rows of a table; a subclass sets `rows`."""

    rows: Mapping[str, CommandRow] = {}
    _listing = False

    @property  # type: ignore[override]  # a plain attribute of its parent
    def commands(self) -> dict[str, Any]:
        """All commands, loaded."""
        return {name: self._loaded(name) for name in self.rows}

    @commands.setter
    def commands(self, value: Any) -> None:
        self._cache: dict[str, Any] = dict(value)

    def list_commands(self, ctx: _Context) -> list[str]:
        """Return the names of the commands."""
        return list(self.rows)

    def get_command(self, ctx: _Context, cmd_name: str) -> Any:
        """Return a command, or None if there is none of that name."""
        if cmd_name not in self.rows:
            return None
        return self.rows[cmd_name].stub(cmd_name) if self._listing else self._loaded(cmd_name)

    def format_help(self, ctx: _Context, formatter: Any) -> None:
        """Write the help, for which no command is loaded."""
        self._listing = True
        try:
            super().format_help(ctx, formatter)
        finally:
            self._listing = False

    def _loaded(self, name: str) -> Any:
        if name not in self._cache:
            self._cache[name] = self.rows[name].load(name)
        return self._cache[name]
