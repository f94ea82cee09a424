"""The display of the quickstart: live progress, the result, and the time that each job spent in each state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from jfr_mp.examples.timeline import JobTimeline
from jfr_mp.states import JobState

#: The width if the output is not a terminal; wide enough for the table of times.
PLAIN_WIDTH = 120

_COLOURS = {
    JobState.WAITING: "dim",
    JobState.RUNNING: "bold yellow",
    JobState.COMPLETED: "green",
    JobState.FAILED: "bold red",
    JobState.REMOTE_ERROR: "bold red",
}


def make_console() -> Console:
    """Return a console on standard output: as wide as the terminal or, without one, wide enough for the tables."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PLAIN_WIDTH)


class Progress:
    """Live progress of the jobs: a table that is updated in place or, without a terminal, a line per change.

    Parameters
    ----------
    console
        The console to write to.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None

    def shown(self) -> AbstractContextManager[object]:
        """Return a context manager that shows the table."""
        return self._live if self._live is not None else nullcontext()

    def update(self, changed: JobTimeline, jobs: Sequence[JobTimeline]) -> None:
        """Show the new state of a job."""
        if self._live is not None:
            self._live.update(progress_table(jobs), refresh=True)
            return
        state, when = changed.entered[-1]
        seconds = (when - jobs[0].entered[0][1]).total_seconds()
        self._console.print(f"{seconds:8.3f} s  job {changed.db_id:>3} {changed.name:<16} {state.value}", markup=False)


def progress_table(jobs: Sequence[JobTimeline]) -> RenderableType:
    """Return a table with the states of all jobs, and a line with the number of jobs in each state."""
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("job", justify="right")
    table.add_column("name")
    table.add_column("state")
    for job in jobs:
        table.add_row(job.db_id, Text(job.name), Text(job.state.value, _COLOURS.get(job.state, "cyan")))
    counts = Counter(job.state for job in jobs)
    summary = ", ".join(f"{counts[state]} {state.value}" for state in JobState if counts[state])
    return Group(table, Text(f"  {summary}"))


def times_table(jobs: Sequence[JobTimeline]) -> RenderableType:
    """Return a table with the seconds that each job spent in each state that it has left."""
    spent = {job.db_id: job.seconds_in() for job in jobs}
    columns = [state for state in JobState if any(state in seconds for seconds in spent.values())]
    # Without rules it fits a terminal of 80 columns.
    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("job", justify="right")
    table.add_column("name", no_wrap=True)
    for state in columns:
        table.add_column(state.value.replace("_", "_\n"), justify="right")
    for job in jobs:
        cells = [f"{seconds:.3f}" if (seconds := spent[job.db_id].get(state)) is not None else "" for state in columns]
        table.add_row(job.db_id, Text(job.name), *cells)
    return _titled("Seconds in each state", table)


def result_text(fitted: Mapping[str, Any]) -> Text:
    """Return the fitted values of `jfr_mp.examples.eos.fit_curve` with their units."""
    rows = (
        ("lattice constant", f"{fitted['lattice_constant']:.4f} Å"),
        ("bulk modulus", f"{fitted['bulk_modulus']:.1f} GPa"),
        ("its pressure derivative", f"{fitted['bulk_modulus_derivative']:.2f}"),
    )
    return _pairs(f"Equation of state of fcc {fitted['metal']} (EMT, third-order Birch-Murnaghan)", rows)


def places_text(places: Iterable[tuple[str, Path]]) -> Text:
    """Return the paths of all files, one per line; print it with ``soft_wrap``, so that paths can be copied."""
    return _pairs("Files", [(what, str(path)) for what, path in places])


def _pairs(title: str, rows: Sequence[tuple[str, str]]) -> Text:
    width = max(len(name) for name, _ in rows)
    lines = [Text.assemble(f"  {name:{width}}   ", (value, "bold")) for name, value in rows]
    return Text("\n").join([Text(f"\n{title}", "bold cyan"), *lines])


def _titled(title: str, table: Table) -> RenderableType:
    """Return a table with a title above it; rich would wrap the table's own title to the width of the table."""
    return Group(Text(f"\n{title}", "bold cyan"), table)
