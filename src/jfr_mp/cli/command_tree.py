"""``--tree``: a group and the commands below it as a tree."""

from __future__ import annotations

from typing import Any

_Context = Any


def print_tree(context: _Context) -> None:
    """Print the commands below the command of a context, each with the first sentence of its help."""
    from jfr_mp.cli.printing import print_text

    command = context.command
    print_text(context.command_path, "bold")
    for line in tree_lines(command):
        print_text(line)


def tree_lines(group: Any, indent: str = "") -> list[str]:
    """Return the lines of the tree below a group; hidden commands are left out."""
    shown = [(name, command) for name, command in group.commands.items() if not command.hidden]
    lines = []
    for number, (name, command) in enumerate(shown):
        branch, below = ("└── ", "    ") if number + 1 == len(shown) else ("├── ", "│   ")
        lines.append(f"{indent}{branch}{name}: {_summary(command)}")
        if hasattr(command, "commands"):
            lines += tree_lines(command, indent + below)
    return lines


def _summary(command: Any) -> str:
    paragraph = " ".join((command.help or "").split("\n\n")[0].split())
    return paragraph.split(". ")[0].rstrip(".")
