"""The files in the run directory of a job, on whatever machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jfr_mp.errors import HostError

if TYPE_CHECKING:
    from jfr_mp.hosts import BaseHost

#: $1 the directory. A name may hold anything but a NUL.
_LIST = r"""cd -- "$1" && find . -mindepth 1 ! -type d -printf '%s %P\0'"""


@dataclass(frozen=True)
class Entry:
    """A file below a run directory.

    Parameters
    ----------
    name
        Its path from there.
    size
        Bytes.
    """

    name: str
    size: int


def files_of(host: BaseHost, run_dir: str, *, timeout: float | None = None) -> list[Entry]:
    """Return the files of a run directory and the directories below it, by name.

    Raises
    ------
    HostError
        The directory is not there or cannot be read.
    """
    result = host.run_script(_LIST, run_dir, timeout=timeout, idempotent=True)
    if result.returncode != 0:
        reason = " ".join(result.stderr.split()) or f"exit code {result.returncode}"
        raise HostError(f"{host.name}: cannot list {run_dir}: {reason}")
    pairs = (record.split(" ", 1) for record in result.stdout.split("\0") if record.strip())
    return sorted((Entry(name, int(size)) for size, name in pairs), key=lambda entry: entry.name)
