"""Fault points: named places in the code at which a test can kill or stop a process, or raise an error.

In production `reach` does nothing. If `VARIABLE` names a directory when this module is imported, a process that reaches
a fault point looks in the directory for a file with the name of the point, such as ``complete.after_append``. The
content of the file selects the fault: ``kill`` (SIGKILL), ``stop`` (SIGSTOP), ``hang`` (the thread waits for ever) or
``error`` (`InjectedFault`). The process renames the file, so that the fault happens once, in one process; the new name,
such as ``complete.after_append.4711``, contains its pid.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from jfr_mp.step_table import STEPS, Step

#: The environment variable that names the directory.
VARIABLE = "JFR_MP_FAULTS"


class InjectedFault(Exception):
    """An error requested by a test."""


@dataclass(frozen=True)
class FaultPoint:
    """A place in the code.

    Parameters
    ----------
    name
        The step, and what it has just done.
    summary
        What has been done at this point, and what has not.
    remote
        Whether only jobs of remote workers or batch workers reach this point.
    """

    name: str
    summary: str
    remote: bool = False


def _points_of(step: Step) -> Iterator[FaultPoint]:
    remote = step.remote_only
    yield FaultPoint(f"{step.name}.after_claim", "the job is locked, the step has not begun", remote)
    yield from (FaultPoint(f"{step.name}.{place}", summary, remote) for place, summary in step.fault_points)
    yield FaultPoint(f"{step.name}.before_commit", "the step is done, the database has not been updated", remote)
    yield FaultPoint(f"{step.name}.after_commit", "the outcome is written, no event has been published", remote)


POINTS: Mapping[str, FaultPoint] = {point.name: point for step in STEPS for point in _points_of(step)}


class Faults:
    """Inject the faults that the files of a directory request.

    Parameters
    ----------
    directory
        The directory with the files.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def reach(self, name: str) -> None:
        """Inject the fault that a test requests at this point, if any.

        Raises
        ------
        InjectedFault
            The test requests ``error``.
        """
        point = POINTS[name]
        taken = self._directory / f"{point.name}.{os.getpid()}"
        try:
            (self._directory / point.name).rename(taken)
        except FileNotFoundError:
            return
        match taken.read_text():
            case "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            case "stop":
                os.kill(os.getpid(), signal.SIGSTOP)
            case "hang":
                threading.Event().wait()
            case _:
                raise InjectedFault(f"error requested by a test at {name}: {point.summary}")


def _nothing(name: str) -> None:
    """Do nothing: no faults are requested."""


_directory = os.environ.get(VARIABLE)
#: Report that this process has reached the fault point of that name.
reach: Callable[[str], None] = Faults(Path(_directory)).reach if _directory else _nothing
