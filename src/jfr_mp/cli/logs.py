"""``jfr-mp logs``: the logs of the role processes, as ``tail`` would show them."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Annotated, TextIO

import typer

from jfr_mp.cli.help_text import with_examples
from jfr_mp.cli.options import ProjectOption
from jfr_mp.cli.session import load_project
from jfr_mp.errors import JfrMpError

#: Seconds between two looks at the files that are followed.
_GLANCE = 0.2


@with_examples(
    {
        "jfr-mp logs": "the last lines of each log",
        "jfr-mp logs transfer -n 100": "more lines of the transfer processes",
        "jfr-mp logs -f": "all of them, as they are written",
    }
)
def logs(
    *,
    role: Annotated[
        str | None,
        typer.Argument(
            metavar="ROLE",
            help="A role (transfer), one of its processes (transfer-2) or master. All of them by default.",
        ),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until Ctrl-C, as lines are written.")] = False,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=0, metavar="N", help="How many of the last lines of each log.")
    ] = 20,
    project: ProjectOption = None,
) -> None:
    """Show the end of the logs."""
    from jfr_mp.supervisor import control

    chosen = load_project(project)

    def find() -> list[Path]:
        return sorted(Path(path) for path in control.log_files(chosen, role))

    paths = find()
    if not paths:
        whose = f"of {role} " if role else ""
        raise JfrMpError(f"project {chosen.name} has no log {whose}in {chosen.log_dir} yet; `jfr-mp start` writes them")
    if follow:
        _print(follow_lines(find, lines), with_names=True)
    else:
        _print(last_lines(paths, lines), with_names=len(paths) > 1)


def last_lines(paths: Iterable[Path], number: int) -> Iterator[tuple[str, str]]:
    """Return the last lines of each log as (name of the log, line)."""
    for path in paths:
        with path.open(errors="replace") as file:
            for line in deque(file, number):
                yield path.stem, line.rstrip("\n")


def follow_lines(find: Callable[[], Iterable[Path]], number: int) -> Generator[tuple[str, str]]:
    """Return the last lines of each log, then every new one, for ever.

    Parameters
    ----------
    find
        Lists the logs; called again and again, because processes come and go.
    number
        How many lines to begin with.
    """
    followed: dict[Path, FollowedLog] = {}
    with ExitStack() as open_logs:
        while True:
            for path in find():
                if path not in followed:
                    with suppress(FileNotFoundError):
                        followed[path] = open_logs.enter_context(closing(FollowedLog(path, number)))
            lines = [(log.name, line) for log in followed.values() for line in log.new_lines()]
            yield from lines
            if not lines:
                time.sleep(_GLANCE)


class FollowedLog:
    """A log that is read as it grows, through its rotations.

    Parameters
    ----------
    path
        The file, which must exist.
    number
        How many of its last lines to begin with.
    """

    def __init__(self, path: Path, number: int) -> None:
        self.name = path.stem
        self._path = path
        self._file = self._open()
        self._waiting = deque(self._file, number)
        self._partial = ""

    def new_lines(self) -> list[str]:
        """Return the complete lines that have been written since the last call, without their ends."""
        lines = [*self._waiting, *self._file]
        self._waiting.clear()
        # The old file is read to its end before the new one is opened, so that a rotation loses nothing.
        if self._rotated():
            lines += list(self._file)
            self._file.close()
            self._file = self._open()
            lines += list(self._file)
        text = self._partial + "".join(lines)
        *complete, self._partial = text.split("\n")
        return complete

    def close(self) -> None:
        """Give the file back."""
        self._file.close()

    def _open(self) -> TextIO:
        return self._path.open(errors="replace")

    def _rotated(self) -> bool:
        try:
            now = self._path.stat()
        except FileNotFoundError:  # between the two renames of a rotation
            return False
        mine = os.fstat(self._file.fileno())
        return (now.st_dev, now.st_ino) != (mine.st_dev, mine.st_ino)


def _print(lines: Iterable[tuple[str, str]], *, with_names: bool) -> None:
    last = None
    for name, line in lines:
        if with_names and name != last:
            typer.secho(f"{'' if last is None else chr(10)}==> {name} <==", fg="cyan")
            last = name
        typer.echo(line)
