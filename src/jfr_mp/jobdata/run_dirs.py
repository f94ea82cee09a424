"""Removing run directories, without mistaking another directory for one."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from jfr_mp.errors import HostError
from jfr_mp.jobdata.files import IN_FILENAME

if TYPE_CHECKING:
    from jfr_mp.hosts import BaseHost

#: The input file that shows that a directory is a run directory; jobflow-remote may compress it.
_INPUTS = (IN_FILENAME, f"{IN_FILENAME}.gz")


def remove_run_dir(host: BaseHost, run_dir: str) -> bool:
    """Remove a run directory with everything in it.

    Returns
    -------
    bool
        Whether it was there.

    Raises
    ------
    HostError
        It contains no input file of a job and therefore may not be a run directory, or it cannot be removed.
    """
    if not host.exists(run_dir):
        return False
    if not any(host.exists(str(PurePosixPath(run_dir, name))) for name in _INPUTS):
        raise HostError(
            f"{run_dir} was not removed because it contains no {IN_FILENAME} and may not be a run directory; "
            "check it and remove it by hand"
        )
    host.remove_tree(run_dir)
    return True
