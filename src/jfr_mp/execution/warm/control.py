"""What others want of warm servers: that they go, and that a batch has some of its own."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from jfr_mp.execution.warm.wire import RETIRE, send
from jfr_mp.hosts.quoting import quote

_START = Path(__file__).with_name("start.py")
#: Seconds that a server may take to hear that it is to go.
_TIMEOUT = 2.0


def retire(directory: Path) -> None:
    """Let the warm servers of a directory take no more jobs; each exits when its own jobs have ended."""
    with suppress(OSError):
        for path in directory.iterdir():
            if stat.S_ISSOCK(path.lstat().st_mode):
                _retire_one(path)


def _retire_one(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_TIMEOUT)
        with suppress(OSError):
            connection.connect(str(path))
            send(connection, [RETIRE])
            # The answer, or the end of the connection: it has heard.
            connection.recv(1)


@contextmanager
def warm_environment(base: os.PathLike[str] | str | None = None) -> Iterator[dict[str, str]]:
    """Yield the environment in which ``jfr-mp execution run`` lets a warm server run the job.

    A job that changes PATH, so that another ``jfr-mp`` comes first, runs in that other installation, cold. The servers
    are told to go when the context ends.

    Parameters
    ----------
    base
        Where a directory for the sockets is made; None for the usual place of temporary files.
    """
    directory = Path(tempfile.mkdtemp(prefix="jfr-mp-", dir=base))
    program = directory / "bin" / "jfr-mp"
    program.parent.mkdir()
    words = [sys.executable, "-I", "-S", str(_START), str(directory / "w"), sys.executable]
    program.write_text(f'#!/bin/sh\nexec {quote(words)} "$@"\n')
    program.chmod(0o700)
    try:
        yield {
            "PATH": f"{program.parent}:{os.environ.get('PATH', os.defpath)}",
            "JFR_MP_WARM_DIR": str(directory / "w"),
        }
    finally:
        retire(directory / "w")
        shutil.rmtree(directory, ignore_errors=True)
