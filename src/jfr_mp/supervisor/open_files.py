"""How many files the processes of jfr-mp may open."""

from __future__ import annotations

import resource

from jfr_mp.errors import StartFailed

#: The number of files that a process of jfr-mp must be able to open at the same time.
OPEN_FILES = 256


def require_open_files() -> None:
    """Make sure that a master and its role processes can open as many files as they need.

    Raises
    ------
    StartFailed
        The limit is too low and cannot be raised.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if 0 <= soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    if 0 <= hard < OPEN_FILES:
        raise StartFailed(
            f"this shell lets a process open {hard} files, and jfr-mp needs {OPEN_FILES}: raise the limit with "
            f"`ulimit -n {OPEN_FILES}`, or have the administrator raise it"
        )
