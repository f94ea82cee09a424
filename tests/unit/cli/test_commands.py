"""How functions become commands, and how their words are parsed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

import pytest
import typer
import typer.main
from typer.testing import CliRunner

from jfr_mp.cli.commands import Command, Group, OptionRow, Options, TableBuilder, with_numbers, with_options

WidthOption = Annotated[int, typer.Option()]


def make_size(width: WidthOption = 1, height: Annotated[int, typer.Option()] = 1) -> int:
    return width * height


def total(given: Mapping[str, Any]) -> int:
    return sum(given.values())


SizeOptions = Annotated[int, Options(make_size)]
TotalOptions = Annotated[
    int,
    Options(
        TableBuilder(
            [
                OptionRow("left", ("--left", "-le"), "One.", int, 0),
                OptionRow("right", ("--right", "-r"), "Two.", int, 0),
            ],
            total,
        )
    ),
]


def make_pair(size: SizeOptions, width: WidthOption = 1) -> tuple[int, int]:
    return size, width


def draw(
    size: SizeOptions,
    pair: Annotated[tuple[int, int], Options(make_pair)],
    sides: TotalOptions,
    verbose: Annotated[int, typer.Option("--verbose", "-v", count=True)] = 0,
    name: Annotated[str, typer.Option("--name", "-n")] = "",
    project: Annotated[str, typer.Option("--project", "-p")] = "",
) -> None:
    """Draw."""
    typer.echo(json.dumps([size, pair, sides, verbose, name, project]))


def run(*words: str) -> Any:
    app = typer.Typer(cls=Group)
    app.command(cls=Command)(with_options(draw))
    app.command("other", cls=Command)(lambda: None)
    return CliRunner().invoke(app, ["draw", *words])


def test_a_builder_stands_for_its_options() -> None:
    # Given options of two builders, one inside another, and of a table
    done = run("--width", "2", "--height", "3", "-le", "4", "--right", "5")

    # Then the command gets the values that they make; an option that two builders share is given once
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == [6, [6, 2], 9, 0, "", ""]


def test_two_options_of_one_name_are_a_mistake() -> None:
    def twice(size: SizeOptions, width: Annotated[int, typer.Option()] = 2) -> None: ...

    twice.__annotations__.update(size=SizeOptions, width=Annotated[int, typer.Option()])
    with pytest.raises(TypeError, match="two different options width"):
        with_options(twice)


def test_the_help_shows_the_options_themselves() -> None:
    text = run("--help").output

    assert all(flag in text for flag in ("--width", "--left", "-le", "--name"))
    assert "--size" not in text


@pytest.mark.parametrize(
    ("words", "flag"),
    [
        (["-pid", "1234"], "-pid"),
        (["-pid=1234"], "-pid"),
        (["-pmain"], "-pmain"),
        (["-vn", "x"], "-vn"),
        (["--name", "x", "-xyz"], "-xyz"),
    ],
)
def test_an_unknown_short_option_is_named_and_never_split(words: list[str], flag: str) -> None:
    done = run(*words)

    assert done.exit_code == 2
    assert f"No such option: {flag}." in done.output


def test_a_similar_option_is_named() -> None:
    assert "Did you mean -le" in run("-lee", "3").output


@pytest.mark.parametrize(
    ("words", "verbose", "name"),
    [
        (["-vvv"], 3, ""),
        (["-v", "-v"], 2, ""),
        (["-n20"], 0, "20"),
        # The value of an option may look like an option
        (["--name", "-xyz"], 0, "-xyz"),
        (["-n", "-vv"], 0, "-vv"),
        (["--name=-xyz"], 0, "-xyz"),
    ],
)
def test_what_is_no_mistake_is_parsed(words: list[str], verbose: int, name: str) -> None:
    done = run(*words)

    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)[3:5] == [verbose, name]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--transfer", "4", "-com=2"], ["--num-transfer", "4", "--num-complete", "2"]),
        (["-t", "4", "--queue"], ["--num-transfer", "4", "--queue"]),
        (["--transfer", "--queue"], ["--transfer", "--queue"]),
        (["--queue", "4"], ["--queue", "4"]),
        (["--log-level=debug", "-t"], ["--log-level=debug", "-t"]),
    ],
)
def test_a_number_behind_a_role_is_that_of_its_processes(words: list[str], expected: list[str]) -> None:
    command: Any = typer.main.get_command(_starter())
    assert with_numbers(command.params, words) == expected


def _starter() -> typer.Typer:
    from jfr_mp.cli.commands import command
    from jfr_mp.cli.processes.lifecycle import start

    group = typer.Typer()
    command(group)(start)
    return group
