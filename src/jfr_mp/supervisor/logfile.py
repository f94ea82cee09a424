"""The log files of a project on this machine: a process writes its own, the master rotates and reads them.

A process gets the file itself as its standard output and error, not a pipe to the master. Crash output is in it too,
nothing is lost or blocked if the master is slow or has died, and a role process that finishes its last step without a
master can still log it.
"""

from __future__ import annotations

import logging
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from jfr_mp.identity import host_name

if TYPE_CHECKING:
    from jfr_mp.config import Project

logger = logging.getLogger(__name__)

#: Bytes from which on a log is rotated, and the number of old ones that are kept.
_LARGE, _KEPT = 10 * 2**20, 3
#: Bytes at the end of a log that are searched for its last lines.
_TAIL = 8192


#: The file with the name of the machine to which the logs beside it belong.
_OWNER = "machine"


def log_dir(project: Project) -> Path:
    """Return the directory with the logs of a project's processes on this machine.

    Machines may share the `log_dir` of the project by a network file system, on which two processes cannot append to
    one file, nor rotate it. The first of them has its logs in `log_dir` itself, each other one in a directory of its
    name.
    """
    top = _shared_dir(project)
    return top if _owner(top) in (None, host_name()) else top / host_name()


def claim_log_dir(project: Project) -> None:
    """Make `log_dir` the directory of the logs of this machine, unless it is that of another machine already."""
    top = _shared_dir(project)
    unfinished = top / f".{_OWNER}.{os.getpid()}-{host_name()}"
    # Without links, such as on FAT, machines that share the directory share the files as well.
    with suppress(OSError):
        top.mkdir(parents=True, exist_ok=True, mode=0o700)
        unfinished.touch(mode=0o600)
        unfinished.write_text(host_name(), encoding="utf-8")
        try:
            # In one step, so that one machine wins and none reads an unfinished file.
            (top / _OWNER).hardlink_to(unfinished)
        finally:
            unfinished.unlink()


def _shared_dir(project: Project) -> Path:
    return Path(project.log_dir) / "jfr_mp"


def _owner(top: Path) -> str | None:
    try:
        return (top / _OWNER).read_text(encoding="utf-8").strip() or None
    except (OSError, ValueError):
        return None


def log_files(project: Project, role: str | None = None) -> list[Path]:
    """Return the log files of this machine; if it has none, those of the machines with which it shares `log_dir`.

    Parameters
    ----------
    project
        The project of the processes.
    role
        A role, a role process such as ``transfer-2``, or ``master``; None for all.
    """
    if any(log_dir(project).glob("*.log")):
        return logs_in(log_dir(project), role)
    top = _shared_dir(project)
    return sorted(file for directory in (top, *top.glob("*/")) for file in logs_in(directory, role))


def logs_in(directory: Path, role: str | None = None) -> list[Path]:
    """Return the log files in a directory; see `log_files` for the role."""
    files = sorted(directory.glob("*.log"))
    return [file for file in files if role in (None, file.stem, file.stem.rpartition("-")[0])]


def host_of(project: Project, file: Path) -> str:
    """Return the host name of the machine whose processes write a log file."""
    top = _shared_dir(project)
    return file.parent.name if file.parent != top else _owner(top) or host_name()


class LogFile:
    """A log file, readable by its user only.

    Parameters
    ----------
    path
        The file; `open` makes its directory.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read_until = self.size

    @property
    def size(self) -> int:
        """Its size in bytes; 0 if it does not exist."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    def open(self) -> int:
        """Return a file descriptor that appends to it."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.fchmod(fd, 0o600)
        return fd

    def rotate(self, large: int = _LARGE) -> None:
        """Start a new file if this one has `large` bytes; the old ones are ``NAME.1``, the newest, to ``NAME.3``.

        The file is copied and truncated, because the process keeps it open and appends. A line that is written between
        the two is lost, which is tolerable once in ten megabytes.
        """
        if self.size < large:
            return
        for number in range(_KEPT, 1, -1):
            if (older := self._old(number - 1)).exists():
                older.rename(self._old(number))
        with self.path.open("rb+") as log:
            try:
                copy = os.open(self._old(1), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                with os.fdopen(copy, "wb") as target:
                    shutil.copyfileobj(log, target)
            except OSError as error:
                # On a full disk, to free space is more useful than to keep an old log.
                self._old(1).unlink(missing_ok=True)
                logger.warning("%s was truncated, because it cannot be copied: %s", self.path, error)
            log.truncate(0)

    def _old(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")

    def last_lines(self, since: int = 0, count: int = 8) -> list[str]:
        """Return the last lines that are not empty, at most `count`.

        Parameters
        ----------
        since
            An earlier size of the file: only what was written after it counts, or all of a file that was rotated since.
        """
        size = self.size
        start = max(since if since <= size else 0, size - _TAIL)
        lines = [line.rstrip() for line in self._text(start, size).splitlines()]
        return [line for line in lines if line][-count:]

    def new_lines(self) -> list[str]:
        """Return the whole lines that were written since the last call."""
        size = self.size
        if size < self._read_until:
            self._read_until = 0
        whole, newline, _ = self._bytes(self._read_until, size).rpartition(b"\n")
        self._read_until += len(whole) + len(newline)
        return whole.decode(errors="replace").split("\n") if newline else []

    def _text(self, start: int, end: int) -> str:
        return self._bytes(start, end).decode(errors="replace")

    def _bytes(self, start: int, end: int) -> bytes:
        if start >= end:
            return b""
        with self.path.open("rb") as log:
            log.seek(start)
            return log.read(end - start)
