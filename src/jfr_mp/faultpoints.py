"""Named places in the code where a test can make a process die, stop or see an error.

In production `reach` is a function that does nothing. Where `VARIABLE` names a directory when this module is imported,
a process that reaches a point looks there for a file of that name, ``complete.after_append``. The file says what is to
happen: ``kill`` (SIGKILL), ``stop`` (SIGSTOP) or ``error`` (`InjectedFault`). Renaming the file takes it, so that it
happens once, in one process; the new name, ``complete.after_append.4711``, tells in which.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from jfr_mp.step_table import STEPS, Step

#: The environment variable that names the directory.
VARIABLE = "JFR_MP_FAULTS"


class InjectedFault(Exception):
    """The error that a test asked for."""


@dataclass(frozen=True)
class FaultPoint:
    """A place in the code.

    Parameters
    ----------
    name
        The step and what it has just done.
    summary
        What is done there, and what is not.
    remote
        Only jobs of workers on other hosts, or of batch workers, come by.
    """

    name: str
    summary: str
    remote: bool = False


def _points_of(step: Step) -> Iterator[FaultPoint]:
    remote = step.remote_only
    yield FaultPoint(f"{step.name}.after_claim", "the job is locked, nothing is done", remote)
    yield from (FaultPoint(f"{step.name}.{place}", summary, remote) for place, summary in step.fault_points)
    yield FaultPoint(f"{step.name}.before_commit", "the step is done, nothing is written in the database", remote)
    yield FaultPoint(f"{step.name}.after_commit", "the outcome is written, no process knows of it", remote)


POINTS: Mapping[str, FaultPoint] = {point.name: point for step in STEPS for point in _points_of(step)}


class Faults:
    """Does what the files of a directory say.

    Parameters
    ----------
    directory
        Where they are.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def reach(self, name: str) -> None:
        """Do what the test wants at this point, if it wants something.

        Raises
        ------
        InjectedFault
            For ``error``.
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
            case _:
                raise InjectedFault(f"a test wants an error where {point.summary}")


def _nothing(name: str) -> None:
    """Go on: this is no test."""


_directory = os.environ.get(VARIABLE)
#: Tell that this process has come to a point of the table.
reach: Callable[[str], None] = Faults(Path(_directory)).reach if _directory else _nothing
