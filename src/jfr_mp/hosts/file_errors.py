"""Which errors of a host's file system are permanent, whether they come as numbers or as the text of a command."""

from __future__ import annotations

import errno
import os

#: Repeating cannot help against these. A full disk is not among them: space may be freed.
_PERMANENT = frozenset(
    {
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.EEXIST,
        errno.ENAMETOOLONG,
        errno.ELOOP,
        errno.EFBIG,
    }
)
_PERMANENT_TEXTS = frozenset(os.strerror(number) for number in _PERMANENT)


def is_permanent(error: OSError) -> bool:
    """Whether an error of the operating system would come again if the operation was repeated."""
    return error.errno in _PERMANENT


def reason_in(text: str) -> str:
    """Return the reason in what a command of a host printed: the text after the last colon of its last line."""
    lines = text.strip().splitlines()
    return lines[-1].rpartition(": ")[2].strip() if lines else ""


def is_permanent_text(reason: str) -> bool:
    """Whether the reason that a command gave is permanent."""
    return reason in _PERMANENT_TEXTS
