"""The dialects of qtoolkit's schedulers."""

from __future__ import annotations

from qtoolkit.io.base import BaseSchedulerIO
from qtoolkit.io.pbs import PBSIO
from qtoolkit.io.sge import SGEIO
from qtoolkit.io.shell import ShellIO
from qtoolkit.io.slurm import SlurmIO

from jfr_mp.schedulers.dialect import Dialect
from jfr_mp.schedulers.pbs import Pbs
from jfr_mp.schedulers.sge import GridEngine
from jfr_mp.schedulers.shell import Shell
from jfr_mp.schedulers.slurm import Slurm

_DIALECTS: tuple[tuple[type[BaseSchedulerIO], type[Dialect]], ...] = (
    (SlurmIO, Slurm),
    (PBSIO, Pbs),
    (SGEIO, GridEngine),
    (ShellIO, Shell),
)


def dialect_of(scheduler_io: BaseSchedulerIO) -> Dialect:
    """Return the dialect of a scheduler; a custom scheduler that is derived from a known one has the same dialect."""
    return next((dialect for io, dialect in _DIALECTS if isinstance(scheduler_io, io)), Dialect)(scheduler_io)
