"""How a function becomes a command: the options that its parameters stand for, its help, and how words are parsed.

A parameter that is annotated ``Annotated[Value, Options(builder)]`` is not an option itself. The command gets the
options of the builder instead, and when it is called the builder makes the value of them. So a filter with a dozen
options is one parameter of each command that takes it, and is described in one place. A builder may have such
parameters itself.
"""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from inspect import Parameter, Signature
from typing import Annotated, Any, TypeVar, get_args

import typer
from typer.core import TyperCommand, TyperGroup

from jfr_mp.cli.errors import show_log
from jfr_mp.deferral import FOR_HELP, deferred

_Function = TypeVar("_Function", bound=Callable[..., object])
_Context = Any

#: The longest line of a help text that a terminal of 80 columns shows as one.
_HELP_WIDTH = 77


@dataclass(frozen=True)
class Options:
    """Marks a parameter whose value is made from options.

    Parameters
    ----------
    build
        Makes the value. Its own parameters are the options: annotated as typer wants them, or in this way again.
    """

    build: Callable[..., Any]


@dataclass(frozen=True)
class OptionRow:
    """One option, as a row of a table.

    Parameters
    ----------
    name
        The parameter that gets its value.
    flags
        Such as ``--state`` and ``-s``.
    help
        What it does.
    type
        The type of its value; a list can be given several times.
    default
        Its value if it is not given.
    settings
        Further arguments of `typer.Option`, such as `metavar`, `parser`, `autocompletion` and `min`.
    """

    name: str
    flags: tuple[str, ...]
    help: str
    type: Any
    default: Any = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def parameter(self) -> Parameter:
        """Return it as a parameter of a function."""
        option = typer.Option(self.default, *self.flags, help=self.help, **self.settings)
        return Parameter(self.name, Parameter.KEYWORD_ONLY, default=option, annotation=self.type)


class TableBuilder:
    """A builder, for `Options`, whose options are the rows of a table.

    Parameters
    ----------
    rows
        The table.
    make
        Makes the value of what was given: a mapping with one entry for each row.
    """

    def __init__(self, rows: Sequence[OptionRow], make: Callable[[Mapping[str, Any]], Any]) -> None:
        self._make = make
        self.__signature__ = Signature([row.parameter() for row in rows])

    def __call__(self, **given: Any) -> Any:
        """Make the value."""
        return self._make(given)


def new_group(summary: str) -> typer.Typer:
    """Return a group of commands, without commands yet."""
    return typer.Typer(cls=Group, no_args_is_help=True, help=summary, callback=_group)


def _print_tree(context: typer.Context, wanted: bool) -> None:
    if wanted:
        from jfr_mp.cli.command_tree import print_tree

        print_tree(context)
        raise typer.Exit


TreeOption = Annotated[
    bool,
    typer.Option("--tree", callback=_print_tree, is_eager=True, help="Show the commands below this one as a tree."),
]


def _group(tree: TreeOption = False) -> None:
    """Take the options of a group."""


def command(
    group: typer.Typer, *names: str, panel: str | None = None, hidden: bool = False
) -> Callable[[_Function], _Function]:
    """Make a function a command of a group; its docstring is the help.

    Parameters
    ----------
    names
        The name of the command, and further names for the same; by default the name of the function.
    panel
        The part of the list of commands in which it stands.
    hidden
        Whether the list of commands leaves it out.
    """

    def register(function: _Function) -> _Function:
        for name in names or (None,):
            group.command(name, cls=Command, rich_help_panel=panel, hidden=hidden)(with_options(function))
        return function

    return register


def with_list(title: str, items: Mapping[str, str]) -> Callable[[_Function], _Function]:
    """Add a titled list of items, each with its meaning, to the help of a command."""

    def add(function: _Function) -> _Function:
        width = max(map(len, items))
        lines = [f"  {item:{width}}  {meaning}" for item, meaning in items.items()]
        if max(map(len, lines)) > _HELP_WIDTH:
            lines = [line for item, meaning in items.items() for line in (f"  {item}", f"      {meaning}")]
        # A paragraph is one line, to be filled for the width of the terminal, or begins with \b and stays as it is.
        paragraphs = [" ".join(paragraph.split()) for paragraph in (inspect.getdoc(function) or "").split("\n\n")]
        function.__doc__ = "\n".join(["\n\n".join(paragraphs), "", "\b", f"{title}:", *lines])
        return function

    return add


def with_examples(examples: Mapping[str, str]) -> Callable[[_Function], _Function]:
    """Add command lines, each with its meaning, to the help of a command."""
    return with_list("Examples", examples)


def with_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that takes the options of builders in the place of the values that they make."""

    def run(**given: Any) -> Any:
        return _call(function, given)

    parameters = _options_of(function)
    run.__name__ = function.__name__
    run.__doc__ = function.__doc__
    run.__module__ = function.__module__
    run.__signature__ = Signature(parameters)  # type: ignore[attr-defined]  # read by `inspect`, unknown to mypy
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


class Command(TyperCommand):
    """A command that never takes one option for several others."""

    def parse_args(self, ctx: _Context, args: list[str]) -> list[str]:
        """Parse the words of the command line."""
        words = with_numbers(self.params, args)
        refuse_unknown_options(self, ctx, words)
        return super().parse_args(ctx, words)

    def invoke(self, ctx: _Context) -> Any:
        """Run the command, with its log on standard error."""
        show_log()
        return super().invoke(ctx)

    def format_help(self, ctx: _Context, formatter: Any) -> None:
        """Write the help."""
        with deferred(FOR_HELP):
            super().format_help(ctx, formatter)


class Group(TyperGroup):
    """A group of commands whose own options are parsed in the same way."""

    def parse_args(self, ctx: _Context, args: list[str]) -> list[str]:
        """Parse the words of the command line."""
        refuse_unknown_options(self, ctx, args)
        return super().parse_args(ctx, args)

    def format_help(self, ctx: _Context, formatter: Any) -> None:
        """Write the help."""
        with deferred(FOR_HELP):
            super().format_help(ctx, formatter)


def with_numbers(options: Sequence[Any], words: Sequence[str]) -> list[str]:
    """Return the words with ``--num-X N`` in the place of a flag ``--X N``, if a command has both options.

    In jobflow-remote's ``runner start``, ``--transfer 4`` is a number of processes.
    """
    names = {option.name: option.opts[0] for option in options}
    numbers = {flag: names.get(f"num_{option.name}") for option in options for flag in option.opts}
    found: list[str] = []
    for word in words:
        flag, equals, value = word.partition("=")
        if word.isdecimal() and found and (instead := numbers.get(found[-1])):
            found[-1:] = [instead, word]
        elif equals and (instead := numbers.get(flag)):
            found += [instead, value]
        else:
            found.append(word)
    return found


def refuse_unknown_options(described: Any, ctx: _Context, args: Sequence[str]) -> None:
    """Fail if a word looks like an option that does not exist.

    The parser would read the unknown ``-pid`` as ``-p id``. Only two kinds of words are left for it to take apart: a
    counted option that is repeated (``-vv``), and a number behind its option (``-n20``).
    """
    if ctx.resilient_parsing:
        return
    known = {flag: option for option in described.get_params(ctx) for flag in (*option.opts, *option.secondary_opts)}
    waiting = list(args)
    while waiting:
        word = waiting.pop(0)
        if word == "--" or (not word.startswith("-") and not ctx.allow_interspersed_args):
            return
        flag, equals, _ = word.partition("=")
        if _takes_value(known.get(flag)):
            # The next word is its value, whatever it looks like.
            del waiting[: 0 if equals else 1]
        elif re.match("-[^-].", flag) and flag not in known and not _can_be_split(flag, known):
            similar = difflib.get_close_matches(flag, known, n=3)
            hint = f" Did you mean {' or '.join(similar)}?" if similar else ""
            ctx.fail(f"No such option: {flag}.{hint}")


def _takes_value(option: Any) -> bool:
    return option is not None and option.param_type_name == "option" and not option.is_flag and not option.count


def _can_be_split(word: str, known: Mapping[str, Any]) -> bool:
    option, rest = known.get(word[:2]), word[2:]
    if _takes_value(option):
        return not any(character.isalpha() for character in rest)
    return option is not None and option.count and set(rest) == {word[1]}


@cache
def _parameters(function: Callable[..., Any]) -> tuple[Parameter, ...]:
    """Return the parameters of a function, the same each time: to evaluate an annotation makes a new option."""
    return tuple(inspect.signature(function, eval_str=True).parameters.values())


def _builder_of(parameter: Parameter) -> Callable[..., Any] | None:
    markers = [marker for marker in get_args(parameter.annotation)[1:] if isinstance(marker, Options)]
    return markers[0].build if markers else None


def _options_of(function: Callable[..., Any]) -> list[Parameter]:
    """Return the options of a function, those of its builders included; one that two of them share comes once.

    Raises
    ------
    TypeError
        Two different options have the same name.
    """
    found: dict[str, Parameter] = {}
    for parameter in _parameters(function):
        builder = _builder_of(parameter)
        for each in _options_of(builder) if builder else [parameter]:
            option = each.replace(kind=Parameter.KEYWORD_ONLY)
            if found.setdefault(option.name, option) != option:
                raise TypeError(f"{function} has two different options {option.name}")
    return list(found.values())


def _call(function: Callable[..., Any], given: Mapping[str, Any]) -> Any:
    values = {}
    for parameter in _parameters(function):
        builder = _builder_of(parameter)
        values[parameter.name] = _call(builder, given) if builder else given[parameter.name]
    return function(**values)
