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

#: The same, cut after $2 bytes: a job may leave millions of files.
_LIST_SOME = f'{_LIST} | head -c "$2"'


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


def files_of(
    host: BaseHost, run_dir: str, *, timeout: float | None = None, most_bytes: int | None = None
) -> list[Entry]:
    """Return the files in a run directory and its subdirectories, sorted by name.

    Parameters
    ----------
    host, run_dir
        Where they are.
    timeout
        Seconds that the host may take; None for no limit.
    most_bytes
        The length of the list in bytes beyond which files are left out; None for a complete list.

    Raises
    ------
    HostError
        The directory does not exist or cannot be read.
    """
    script, limit = (_LIST, ()) if most_bytes is None else (_LIST_SOME, (str(most_bytes),))
    result = host.run_script(script, run_dir, *limit, timeout=timeout, idempotent=True)
    if result.returncode != 0:
        reason = " ".join(result.stderr.split()) or f"exit code {result.returncode}"
        raise HostError(f"{host.name}: cannot list {run_dir}: {reason}")
    # Behind the last NUL there is nothing, or a record that was cut.
    pairs = (record.split(" ", 1) for record in result.stdout.split("\0")[:-1])
    return sorted((Entry(name, int(size)) for size, name in pairs), key=lambda entry: entry.name)
