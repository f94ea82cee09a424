"""Lists in help texts, where a docstring alone would be filled into one paragraph."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TypeVar

_Command = TypeVar("_Command", bound=Callable[..., object])


def with_list(title: str, items: Mapping[str, str]) -> Callable[[_Command], _Command]:
    """Add a titled list, one line for each item and its meaning, to the help of a command."""

    def add(command: _Command) -> _Command:
        width = max(len(item) for item in items)
        lines = [f"  {item:{width}}  {meaning}".rstrip() for item, meaning in items.items()]
        # A paragraph is one line, to be filled for the width of the terminal, or begins with \b and stays as it is.
        paragraphs = [" ".join(paragraph.split()) for paragraph in (inspect.getdoc(command) or "").split("\n\n")]
        command.__doc__ = "\n".join(["\n\n".join(paragraphs), "", "\b", f"{title}:", *lines])
        return command

    return add


def with_examples(examples: Mapping[str, str]) -> Callable[[_Command], _Command]:
    """Add command lines, each with its meaning, to the help of a command."""
    return with_list("Examples", examples)
