"""Places: directories, as the same ones or different ones for processes on several machines.

Two machines may give a directory the same path and mean different disks, or mean one directory of a network file
system. A marker file in it tells: it contains a random id, and the number of its own inode, by which a copy of the
directory, as in a clone of a machine or an image of a container, is told from the original.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jfr_mp.config import Project

_MARKER = ".jfr_mp_place"


def place_of(directory: Path) -> str | None:
    """Return the id of a directory, which is marked if it was not; None if it does not exist or cannot be marked."""
    marker = directory / _MARKER
    try:
        return _read(marker) or _mark(marker)
    except OSError:
        return None


def _read(marker: Path) -> str | None:
    """Return the id in a marker; None if there is none, or if it is a copy."""
    try:
        with marker.open(encoding="ascii") as file:
            place, _, inode = file.read(200).strip().partition(" ")
            return place if inode == str(os.fstat(file.fileno()).st_ino) else None
    except (FileNotFoundError, ValueError):
        return None


def _mark(marker: Path) -> str | None:
    with _locked(marker.parent):
        # Another process may have done it meanwhile.
        if place := _read(marker):
            return place
        unfinished = marker.with_name(f"{_MARKER}.{secrets.token_hex(4)}")
        with unfinished.open("x", encoding="ascii") as file:
            file.write(f"{secrets.token_hex(8)} {os.fstat(file.fileno()).st_ino}\n")
        marker.unlink(missing_ok=True)
        unfinished.rename(marker)
        return _read(marker)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # Not every network file system has locks.
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


class Places:
    """The places that this process sees: where downloads go, and the work_dirs of local workers.

    Parameters
    ----------
    project
        The project with these directories.
    """

    def __init__(self, project: Project) -> None:
        self._download_dir = Path(project.tmp_dir, "download")
        self._work_dirs = {name: Path(worker.work_dir) for name, worker in project.workers.items() if worker.is_local}
        self._known: dict[Path, str] = {}

    def prepare(self) -> None:
        """Make the directories, as far as this machine allows."""
        self._make_download_dir()
        for directory in self._work_dirs.values():
            with suppress(OSError):
                directory.mkdir(parents=True, exist_ok=True)

    def downloads(self) -> str | None:
        """Return the place of downloaded files; None if the directory cannot be used."""
        self._make_download_dir()
        return self._of(self._download_dir)

    def _make_download_dir(self) -> None:
        """Make the directory of downloaded files, which other users must not read any more than run directories."""
        with suppress(OSError):
            self._download_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            if self._download_dir.stat().st_mode & 0o077:
                self._download_dir.chmod(0o700)

    def of_worker(self, name: str) -> str | None:
        """Return the place of a local worker's work_dir; None for any other worker, or if it is not there."""
        directory = self._work_dirs.get(name)
        return self._of(directory) if directory else None

    def of_workers(self) -> dict[str, str]:
        """Return the places of the local workers whose work_dir is there."""
        found = {name: self._of(directory) for name, directory in self._work_dirs.items()}
        return {name: place for name, place in found.items() if place}

    def seen(self) -> list[str]:
        """Return all places that this process sees now."""
        places = {self._of(directory) for directory in (self._download_dir, *self._work_dirs.values())}
        return sorted(place for place in places if place)

    def _of(self, directory: Path) -> str | None:
        if directory not in self._known and (place := place_of(directory)):
            self._known[directory] = place
        return self._known.get(directory)
