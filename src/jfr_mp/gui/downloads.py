"""Sending files of jobs to browsers: bounded in size and number, and without leaving a copy on the disk."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import quote

from starlette.responses import StreamingResponse

from jfr_mp.errors import HostError

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

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
        return _Sent(_copied(copy), name)
    except BaseException:
        _places.release()
        raise


class _Sent(StreamingResponse):
    """Sends an open file, and closes it when the client has it or has left."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file = file
        headers = {
            "Content-Length": str(os.fstat(file.fileno()).st_size),
            "Content-Disposition": f"attachment; filename*=utf-8''{quote(name, safe='', errors='replace')}",
        }
        super().__init__(_blocks(file), media_type="application/octet-stream", headers=headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._file.close()
            _places.release()


def _copied(copy: Callable[[Path], object]) -> BinaryIO:
    """Return a copy that has no name any more: its blocks are freed with it, even if this process is killed."""
    with tempfile.TemporaryDirectory(prefix="jfr-mp-gui-") as directory:
        # Whatever the job has called the file.
        target = Path(directory) / "file"
        copy(target)
        return target.open("rb")


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    while block := file.read(_BLOCK):
        yield block
