"""Listing the files in the run directory of a job, on any host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from jfr_mp.errors import HostError

if TYPE_CHECKING:
    from jfr_mp.hosts import BaseHost

#: $1 is the directory. Links and special files are left out, because they are not copied either. A file name may
#: contain any character except NUL.
_LIST = r"""cd -- "$1" && find . -mindepth 1 -type f -printf '%s %P\0'"""


@dataclass(frozen=True)
class Entry:
    """A file below a run directory.

    Parameters
    ----------
    name
        Its path relative to the run directory.
    size
        Its size in bytes.
    """

    name: str
    size: int


def files_of(host: BaseHost, run_dir: str, *, timeout: float | None = None) -> list[Entry]:
    """Return the files in a run directory and its subdirectories, sorted by name.

    Raises
    ------
    HostError
        The directory does not exist or cannot be read.
    """
    result = host.run_script(_LIST, run_dir, timeout=timeout, idempotent=True)
    if result.returncode != 0:
        reason = " ".join(result.stderr.split()) or f"exit code {result.returncode}"
        raise HostError(f"{host.name}: cannot list {run_dir}: {reason}")
    pairs = (record.split(" ", 1) for record in result.stdout.split("\0") if record.strip())
    return sorted((Entry(name, int(size)) for size, name in pairs), key=lambda entry: entry.name)
