#!/usr/bin/env python3
"""Compare the commands of jobflow-remote and of jfr-mp, and write the table of the page that teaches the change.

    scripts/command_table.py [--check]

Both command lines are asked: that of jobflow-remote in its own environment, whose Python the environment variable
JFR_MP_PEER_PYTHON names (`scripts/test -e peer` makes it). With --check nothing is written, and the exit status is 1 if
the page is out of date.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer.main

from jfr_mp.cli.app import app

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "howto" / "from-jobflow-remote.md"
PEER = Path(os.environ.get("JFR_MP_PEER_PYTHON", ROOT / ".tox" / "peer" / "bin" / "python"))

_BEGIN, _END = "<!-- written by scripts/command_table.py -->\n", "<!-- end -->\n"

#: What the help of an option says that does nothing.
_ACCEPTED = "Accepted as in jobflow-remote"

#: Options of nearly every command, which are not worth naming in each row.
_EVERYWHERE = frozenset({"--json", "--project", "-p", "--help", "-h", "--tree", "--dry-run"})

#: What has no counterpart, and why.
REASONS = {
    "flow graph --dash": "`flow graph --path flow.svg` draws a picture",
}


@dataclass(frozen=True)
class Row:
    """One command of jobflow-remote.

    Parameters
    ----------
    name
        Its name.
    shorter
        The name of the same command outside of the group ``runner``.
    missing
        Its options that jfr-mp does not have; None if the command itself is missing.
    without_effect
        Its options that jfr-mp accepts for the sake of scripts.
    more
        The options that jfr-mp has in addition.
    """

    name: str
    shorter: str
    missing: tuple[str, ...] | None
    without_effect: tuple[str, ...]
    more: tuple[str, ...]


def their_commands() -> dict[str, list[str]]:
    """Return the commands of jobflow-remote, each with its flags."""
    done = subprocess.run(
        [str(PEER), str(ROOT / "tests" / "interop" / "peer_surface.py")], capture_output=True, text=True, check=True
    )
    commands: dict[str, list[str]] = json.loads(done.stdout)["commands"]
    return commands


def our_commands(group: Any = None, path: str = "") -> dict[str, Any]:
    """Return the commands of jfr-mp by name, the hidden ones included."""
    found = {}
    for name, command in (group or typer.main.get_command(app)).commands.items():
        below = f"{path} {name}".strip()
        is_group = hasattr(command, "commands")
        if not is_group or command.invoke_without_command:
            found[below] = command
        if is_group:
            found.update(our_commands(command, below))
    return found


def rows(theirs: Mapping[str, list[str]], ours: Mapping[str, Any]) -> Iterator[Row]:
    """Return the commands of jobflow-remote, compared with those of jfr-mp."""
    for name, flags in sorted(theirs.items()):
        command = ours.get(name)
        if command is None:
            yield Row(name, "", None, (), ())
            continue
        known = {flag: option for option in command.params for flag in option.opts if flag.startswith("-")}
        more = [option for option in command.params if not option.hidden and not set(option.opts) & {*flags}]
        yield Row(
            name,
            next((word for word in ours if word == name.removeprefix("runner ") and word != name), ""),
            tuple(flag for flag in flags if flag not in known or _refused(known[flag])),
            tuple(flag for flag in flags if flag in known and str(known[flag].help).startswith(_ACCEPTED)),
            tuple(option.opts[0] for option in more if option.opts[0].startswith("--")),
        )


def _refused(option: Any) -> bool:
    return bool(option.hidden) and str(option.help) == "Not available."


def table(found: Iterable[Row], ours: Mapping[str, Any], theirs: Mapping[str, list[str]]) -> str:
    """Return the tables in Markdown."""
    lines = ["| command of both | shorter | what jfr-mp adds or does otherwise |", "|---|---|---|"]
    lines += [f"| `{row.name}` | {row.shorter and f'`{row.shorter}`'} | {_difference(row)} |" for row in found]
    own = sorted(name for name, command in ours.items() if name not in theirs and not command.hidden)
    shorter = {row.shorter for row in found}
    lines += ["", "Commands that only jfr-mp has:", "", "| command | what it does |", "|---|---|"]
    lines += [f"| `jfr-mp {name}` | {_summary(ours[name])} |" for name in own if name not in shorter]
    return "\n".join(lines) + "\n"


def _difference(row: Row) -> str:
    if row.missing is None:
        return f"not in jfr-mp: {REASONS[row.name]}" if row.name in REASONS else "not in jfr-mp"
    parts = [
        f"without `{flag}`: {REASONS[f'{row.name} {flag}']}" for flag in row.missing if f"{row.name} {flag}" in REASONS
    ]
    if row.without_effect:
        parts.append(f"accepted without effect: {_codes(row.without_effect)}")
    if more := [flag for flag in row.more if flag not in _EVERYWHERE]:
        parts.append(f"adds {_codes(more)}")
    return "; ".join(parts)


def _codes(flags: Iterable[str]) -> str:
    return " ".join(f"`{flag}`" for flag in flags if flag.startswith("--"))


def _summary(command: Any) -> str:
    return " ".join(str(command.help).split("\n\n")[0].split()).replace("|", "\\|")


def main() -> int:
    """Write or check the table; return the exit status."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing, and fail if the page is out of date")
    options = parser.parse_args()
    theirs, ours = their_commands(), our_commands()
    text = PAGE.read_text()
    before, _, rest = text.partition(_BEGIN)
    after = rest.partition(_END)[2]
    wanted = f"{before}{_BEGIN}{table(list(rows(theirs, ours)), ours, theirs)}{_END}{after}"
    if wanted == text:
        return 0
    if options.check:
        sys.stderr.write(f"{PAGE.relative_to(ROOT)} is out of date: run scripts/command_table.py\n")
        return 1
    PAGE.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
