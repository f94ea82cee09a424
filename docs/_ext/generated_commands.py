"""Directives that show the commands of `jfr-mp` with their options, as typer knows them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer.main
from docutils import nodes
from docutils.parsers.rst import Directive
from docutils.statemachine import StringList
from generated import _Table
from sphinx.application import Sphinx

from jfr_mp.cli.app import app as jfr_mp


def commands() -> Iterator[tuple[str, Any]]:
    """Return all commands that the help shows, each with its whole name."""
    yield from _below(typer.main.get_command(jfr_mp), "jfr-mp")


def _below(group: Any, name: str) -> Iterator[tuple[str, Any]]:
    for word, command in group.commands.items():
        if command.hidden:
            continue
        if hasattr(command, "commands"):
            yield from _below(command, f"{name} {word}")
        else:
            yield f"{name} {word}", command


def summary(command: Any) -> str:
    """Return the first paragraph of the help of a command."""
    return str(command.help).split("\n\n", maxsplit=1)[0]


def arguments(command: Any) -> str:
    """Return the arguments of a command as the usage shows them."""
    return " ".join(_metavar(each) for each in command.params if each.param_type_name == "argument")


def option_rows(command: Any) -> Iterator[tuple[str, str]]:
    """Return the options and arguments of a command, each with its meaning, the global one for the project last."""
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            yield f"`{_metavar(parameter)}`", _meaning(parameter)
            continue
        flags = ", ".join(f"`{flag}`" for flag in parameter.opts)
        value = "" if parameter.is_flag or parameter.count else f" {_metavar(parameter)}"
        yield f"{flags}{value}", _meaning(parameter)


def _metavar(parameter: Any) -> str:
    name = parameter.metavar or parameter.name.upper()
    return name if parameter.required or name.startswith("[") or parameter.param_type_name == "option" else f"[{name}]"


def _meaning(parameter: Any) -> str:
    notes = []
    if getattr(parameter, "multiple", False):
        notes.append("can be given several times")
    if parameter.default not in (None, False, (), [], "") and not getattr(parameter, "count", False):
        notes.append(f"default: {getattr(parameter.default, 'value', parameter.default)}")
    text = str(parameter.help).replace("[bold]", "`").replace("[/]", "`").replace("|", "\\|")
    return f"{text} ({'; '.join(notes)})" if notes else text


class CommandTable(_Table):
    """All commands, one a row."""

    header = ("command", "what it does")

    def rows(self) -> Iterator[tuple[str, str]]:
        for name, command in commands():
            usage = f"{name} {arguments(command)}".strip().replace("|", "\\|")
            yield f"`{usage}`", summary(command)


class CommandReference(Directive):
    """All commands, one a section with the help, the examples and the options."""

    def run(self) -> list[nodes.Node]:
        return [self._section(name, command) for name, command in commands()]

    def _section(self, name: str, command: Any) -> nodes.section:
        section = nodes.section(ids=[name.replace(" ", "-")], names=[name])
        section += nodes.title(name, "", nodes.literal(name, name))
        for paragraph in str(command.help).split("\n\n"):
            if paragraph.startswith("\b"):
                title, _, lines = paragraph.removeprefix("\b\n").partition("\n")
                section += nodes.paragraph("", title)
                section += nodes.literal_block(lines, lines, language="text")
            else:
                self._parse([paragraph], section)
        rows = [
            "| option | meaning |",
            "|---|---|",
            *(f"| {option} | {text} |" for option, text in option_rows(command)),
        ]
        self._parse(rows, section)
        return section

    def _parse(self, lines: list[str], into: nodes.Element) -> None:
        self.state.nested_parse(StringList(lines, source="generated"), self.content_offset, into)


def setup(app: Sphinx) -> dict[str, bool]:
    """Make the directives known."""
    app.add_directive("command-table", CommandTable)
    app.add_directive("command-reference", CommandReference)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
