"""What the help and the docs teach must be true."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer
import typer.main

from jfr_mp.cli.app import COMMANDS as ROWS
from jfr_mp.cli.app import app

ROOT_COMMAND: Any = typer.main.get_command(app)


def commands(command: Any = ROOT_COMMAND, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Walk over all commands, the hidden ones included."""
    for name, inner in getattr(command, "commands", {}).items():
        yield from commands(inner, (*path, name))
    if not hasattr(command, "commands"):
        yield " ".join(path), command


COMMANDS = dict(commands())
EXAMPLES = sorted(
    {
        re.split(r"\s{2,}", line.strip())[0]
        for command in [ROOT_COMMAND, *COMMANDS.values()]
        for line in (command.help or "").splitlines()
        if line.startswith("  jfr-mp ")
    }
)


@pytest.mark.parametrize("name", ROWS)
def test_the_list_of_commands_says_what_the_command_says(name: str) -> None:
    # Given a row of the list, for which no command is imported, and the help of the command itself
    help_text = ROOT_COMMAND.commands[name].help.split("\n\n")[0]

    # Then both say the same
    assert ROWS[name].summary == " ".join(help_text.split())


def test_there_are_examples() -> None:
    assert len(EXAMPLES) > 20


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_parses(example: str) -> None:
    # Given an example of the help
    words = shlex.split(example)[1:]

    # When the command that it names parses the rest
    command = ROOT_COMMAND
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]

    # Then it takes every word of it
    with command.make_context(example, words) as context:
        assert context.args == []


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_explains_itself(name: str) -> None:
    command = COMMANDS[name]
    assert command.help
    assert all(getattr(parameter, "help", None) for parameter in command.params)


@pytest.mark.parametrize("name", COMMANDS)
def test_lists_in_the_help_fit_a_terminal(name: str) -> None:
    # With a border on either side
    assert all(len(line) <= 77 for line in (COMMANDS[name].help or "").splitlines() if line.startswith("  "))


#: Arguments that do not take just any text.
VALID = {"new_state": "READY", "resources": "nodes=1"}

NUMBERS = [
    (name, parameter.opts[0])
    for name, command in COMMANDS.items()
    for parameter in command.params
    if parameter.metavar in ("N", "SECONDS", "INDEX") or (type(parameter.default) is int and not parameter.count)
]


def test_there_are_numbers() -> None:
    assert len(NUMBERS) > 20


@pytest.mark.parametrize(("name", "option"), NUMBERS)
def test_a_number_of_twenty_digits_is_a_wrong_usage(name: str, option: str) -> None:
    # Given a command and the arguments before its number
    command, digits = COMMANDS[name], "9" * 20
    before = itertools.takewhile(lambda each: each.opts[0] != option, command.params)
    arguments = [VALID.get(each.name, "1") for each in before if each.param_type_name == "argument"]

    # When it gets a number that no library can work with
    words = [*arguments, option, digits] if option.startswith("-") else [*arguments, digits]

    # Then it does not come as far as running
    with pytest.raises(typer.BadParameter, match=digits):
        command.make_context(name, words)


@pytest.mark.parametrize("name", [name for name in COMMANDS if name.endswith(("list", "info", "status", "check"))])
def test_every_table_has_its_json(name: str) -> None:
    assert "--json" in {option for parameter in COMMANDS[name].params for option in parameter.opts}
