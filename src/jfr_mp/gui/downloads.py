"""Sending files of jobs to browsers: bounded in size and number, and without leaving a copy on the disk."""

from __future__ import annotations

import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from starlette.responses import StreamingResponse

from jfr_mp.errors import HostError

#: The largest file that is copied to a browser.
LARGEST = 2**30
#: Downloads that are served at once; each takes up to `LARGEST` bytes of the directory for temporary files.
_MOST = 8
_BLOCK = 2**16

_places = threading.BoundedSemaphore(_MOST)


def sent(name: str, copy: Callable[[Path], object]) -> StreamingResponse:
    """Return an answer that the browser stores as a file.

    Parameters
    ----------
    name
        The name of the file, without a directory.
    copy
        Copies the file to a path of this machine.

    Raises
    ------
    HostError
        Too many files are being sent, or `copy` raises it.
    """
    if not _places.acquire(blocking=False):
        raise HostError(f"{_MOST} files are being sent, and no more at once; try again later")
    try:
        file = _copied(copy)
    except BaseException:
        _places.release()
        raise
    # When the answer is complete, and when the client is gone before it has begun.
    weakref.finalize(file, _places.release)
    size = file.seek(0, 2)
    file.seek(0)
    headers = {
        "Content-Length": str(size),
        "Content-Disposition": f"attachment; filename*=utf-8''{quote(name, safe='', errors='replace')}",
    }
    return StreamingResponse(_blocks(file), media_type="application/octet-stream", headers=headers)


def _copied(copy: Callable[[Path], object]) -> BinaryIO:
    """Return a copy that has no name any more: its blocks are freed with it, even if this process is killed."""
    with tempfile.TemporaryDirectory(prefix="jfr-mp-gui-") as directory:
        # Whatever the job has called the file.
        target = Path(directory) / "file"
        copy(target)
        return target.open("rb")


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    with file:
        while block := file.read(_BLOCK):
            yield block
