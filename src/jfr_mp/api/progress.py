"""The progress of a wait: live on a terminal, an updating display in a notebook, and occasional lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from jfr_mp.api.notebook import last_line, progress_html
from jfr_mp.logs import clean, counted
from jfr_mp.states import FINAL_STATES, JobState

if TYPE_CHECKING:
    from jfr_mp.model import JobInfo

#: How many jobs that failed are named, and the states in which a job counts as one.
MOST_NAMED, FAILURES = 5, (JobState.FAILED, JobState.REMOTE_ERROR)
#: Without a terminal: seconds between two lines, or this fraction of the elapsed time if that is longer.
_SPARSE, _PART = 10.0, 0.1
#: Seconds between two updates in a notebook, if no job has changed.
_UPDATE = 1.0


@dataclass(frozen=True)
class WaitLook:
    """What a wait sees of its jobs at one time.

    Parameters
    ----------
    counts
        The number of jobs by state, in the order of a job's life.
    failures
        The last jobs that failed or are in REMOTE_ERROR, the last one at the end.
    """

    counts: Mapping[JobState, int] = field(default_factory=dict)
    failures: Sequence[JobInfo] = ()


#: Called at each look.
Watch = Callable[[WaitLook], None]


@dataclass(frozen=True, repr=False)
class WaitProgress:
    """The progress of a wait.

    Parameters
    ----------
    counts
        The number of jobs by state, in the order of a job's life.
    failures
        The last jobs that failed or are in REMOTE_ERROR: what each is called, and its error.
    began
        The time of the monotonic clock at which the wait began.
    """

    counts: Mapping[JobState, int] = field(default_factory=dict)
    failures: Sequence[tuple[str, str]] = ()
    began: float = field(default_factory=time.monotonic)

    @property
    def total(self) -> int:
        """The number of jobs."""
        return sum(self.counts.values())

    @property
    def ended(self) -> int:
        """The number of jobs that have ended."""
        return sum(self.counts.get(state, 0) for state in FINAL_STATES)

    @property
    def headline(self) -> str:
        """How many jobs have ended, and how long the wait takes so far."""
        elapsed = timedelta(seconds=int(time.monotonic() - self.began))
        return f"{self.ended} of {counted(self.total, 'job')} ended, waiting for {elapsed}"

    def after(self, look: WaitLook) -> WaitProgress:
        """Return the progress at the next look."""
        failures = tuple(
            (_one_line(f"Job {job.db_id} ({job.name}): {job.state.name}"), _one_line(last_line(job)))
            for job in look.failures
        )
        return WaitProgress(look.counts, failures, self.began)

    def __repr__(self) -> str:
        counts = ", ".join(f"{number} {state.name}" for state, number in self.counts.items())
        failures = "; ".join(": ".join(part for part in failure if part) for failure in self.failures[-1:])
        return "; ".join(part for part in (self.headline, counts, failures) if part)

    def _repr_html_(self) -> str:
        return progress_html(self.headline, self.ended, self.total, self.counts, self.failures)


@contextmanager
def shown_progress(again: str, *, keep: bool = True) -> Iterator[Watch]:
    """Show the progress of a wait on standard error, or in the notebook.

    Parameters
    ----------
    again
        How to wait again, for a user who interrupts the wait.
    keep
        Whether the last state stays on the terminal.

    Yields
    ------
    Watch
        Is called at each look.
    """
    try:
        with _view(keep=keep) as watch:
            yield watch
    except KeyboardInterrupt:
        # The display is closed, and the cursor is at the beginning of a line.
        print(f"Stopped waiting; the jobs are not affected. Wait again with `{clean(again)}`.", file=sys.stderr)
        raise


def _one_line(text: str) -> str:
    return " ".join(clean(text).split())


def _view(*, keep: bool) -> AbstractContextManager[Watch]:
    if _is_notebook():
        return _Notebook()
    from jfr_mp.api import terminal_progress

    return terminal_progress.live(WaitProgress(), keep=keep) if terminal_progress.is_possible() else _Lines(keep=keep)


def _is_notebook() -> bool:
    """Return whether this process is the kernel of a notebook."""
    # The kernel of a notebook has imported IPython long ago.
    ipython = sys.modules.get("IPython")
    return ipython is not None and getattr(ipython.get_ipython(), "kernel", None) is not None


class _Lines:
    """Prints a line at the first look, later ones ever more rarely, and only if the state of a job has changed."""

    def __init__(self, *, keep: bool) -> None:
        self._keep = keep
        self._progress, self._printed, self._time = WaitProgress(), WaitProgress(), 0.0

    def __enter__(self) -> Watch:
        return self._watch

    def __exit__(self, kind: type[BaseException] | None, *_rest: object) -> None:
        if self._keep and kind is None:
            self._print(time.monotonic())

    def _watch(self, look: WaitLook) -> None:
        self._progress = self._progress.after(look)
        now = time.monotonic()
        if not self._printed.counts or now - self._time >= max(_SPARSE, _PART * (now - self._progress.began)):
            self._print(now)

    def _print(self, now: float) -> None:
        if self._progress.counts != self._printed.counts:
            print(self._progress, file=sys.stderr, flush=True)
            self._printed, self._time = self._progress, now


class _Notebook:
    """Shows the progress in the output of a cell, and replaces it."""

    def __enter__(self) -> Watch:
        from IPython.display import DisplayHandle

        # IPython annotates some of it, in some versions.
        display_handle: Any = DisplayHandle
        self._handle = display_handle()
        self._progress, self._time = WaitProgress(), time.monotonic()
        self._handle.display(self._progress)
        return self._watch

    def __exit__(self, *_exception: object) -> None:
        self._handle.update(self._progress)

    def _watch(self, look: WaitLook) -> None:
        before, self._progress = self._progress, self._progress.after(look)
        now = time.monotonic()
        if self._progress.counts != before.counts or now - self._time >= _UPDATE:
            self._time = now
            self._handle.update(self._progress)
