"""Named places in the code where a test can make a process die, stop or see an error.

In production `reach` is a function that does nothing. Where `VARIABLE` names a directory when this module is imported,
a process that reaches a point looks there for a file of that name, ``complete.after_append``. The file says what is to
happen: ``kill`` (SIGKILL), ``stop`` (SIGSTOP) or ``error`` (`InjectedFault`). Renaming the file takes it, so that it
happens once, in one process; the new name, ``complete.after_append.4711``, tells in which.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from jfr_mp.states import STEPS, Step

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


def _of_every_step(step: Step) -> tuple[FaultPoint, ...]:
    remote = step.name in ("download", "batch")
    return (
        FaultPoint(f"{step.name}.after_claim", "the job is locked, nothing is done", remote),
        FaultPoint(f"{step.name}.before_commit", "the step is done, nothing is written in the database", remote),
        FaultPoint(f"{step.name}.after_commit", "the outcome is written, nobody is told", remote),
    )


_INSIDE_OF_STEPS = (
    FaultPoint("upload.before_put", "the input is made, nothing of it is on the worker"),
    FaultPoint("upload.after_put", "the input is there"),
    FaultPoint("submit.after_submit", "the scheduler has the job, we have not written its id"),
    FaultPoint("download.after_get", "the output is here", remote=True),
    FaultPoint("complete.after_copy", "the output is in the JobStore, the job has not ended"),
    FaultPoint("complete.after_append", "the returned jobs are in the flow, the children know nothing"),
    FaultPoint("complete.after_children", "the children are READY, the state of the flow is the old one"),
    FaultPoint("complete.after_flow", "the flow has its new state, the job has not"),
    FaultPoint("complete.after_job", "the job has ended, the flow is still locked"),
)

POINTS: Mapping[str, FaultPoint] = {
    point.name: point for point in (*(point for step in STEPS for point in _of_every_step(step)), *_INSIDE_OF_STEPS)
}


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
