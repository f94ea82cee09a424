"""The progress of a wait on a terminal: a bar, the jobs by state and the failed jobs, redrawn in place."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from jfr_mp.api.notebook import STATE_COLOURS
from jfr_mp.states import JobState

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from jfr_mp.api.progress import WaitLook, WaitProgress, Watch

#: Times per second that the terminal is drawn; few, because it may be at the other end of a slow line.
_DRAWN = 2
_BAR = 30


def is_possible() -> bool:
    """Return whether standard error is a terminal whose cursor can be moved."""
    return sys.stderr.isatty() and os.environ.get("TERM") != "dumb"


@contextmanager
def live(progress: WaitProgress, *, keep: bool) -> Iterator[Watch]:
    """Show the progress on standard error, and leave the cursor behind it.

    Parameters
    ----------
    progress
        The progress before the first look.
    keep
        Whether the last state stays.
    """
    from rich.console import Console
    from rich.live import Live

    shown = progress

    def watch(look: WaitLook) -> None:
        nonlocal shown
        shown = shown.after(look)

    console = Console(stderr=True)
    with Live(console=console, get_renderable=lambda: _drawn(shown), refresh_per_second=_DRAWN, transient=not keep):
        yield watch


def _drawn(progress: WaitProgress) -> RenderableType:
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    line = Table.grid(padding=(0, 1))
    line.add_row(ProgressBar(max(progress.total, 1), progress.ended, width=_BAR), Text(progress.headline))
    counts = Text(", ").join(_state(f"{number} {state.name}", state) for state, number in progress.counts.items())
    failures = [
        Text.assemble((what, STATE_COLOURS[JobState.FAILED]), f" {error}", overflow="ellipsis", no_wrap=True)
        for what, error in progress.failures
    ]
    return Group(line, counts, *failures)


def _state(text: str, state: JobState) -> Text:
    from rich.text import Text

    return Text(text, STATE_COLOURS.get(state, ""))
