"""The files of a backup: one zip file, or a directory as jobflow-remote and mongodump write it.

Both contain ``jobs.bson``, ``flows.bson``, ``jf_auxiliary.bson`` and ``batches.bson``: BSON documents one after the
other. In a directory, they may be compressed with gzip (``jobs.bson.gz``). Backups that jfr-mp wrote also contain
``manifest.json``. An unpacked zip file is such a directory.
"""

from __future__ import annotations

import gzip
import json
import lzma
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Protocol, cast

from jfr_mp.errors import BackupError

#: The collections of a backup by the names of their files, in the order in which they are written.
MEMBERS = ("jobs", "flows", "jf_auxiliary", "batches")

MANIFEST = "manifest.json"
_SUFFIX, _PART = ".bson", ".part"

#: What reading a damaged file raises; a RuntimeError comes from an encrypted one.
_DAMAGE = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, RuntimeError, ValueError, OSError)
#: Bytes of a manifest, when it is unpacked.
_LARGEST_MANIFEST = 100_000


class BackupTarget(Protocol):
    """Receives the files of a backup; nothing has its final name before `finish`."""

    @contextmanager
    def member(self, name: str) -> Iterator[IO[bytes]]:
        """Open the file of a collection for writing."""
        yield NotImplemented

    def finish(self, manifest: dict[str, Any]) -> None:
        """Write the manifest and give everything its final name."""

    def abandon(self) -> None:
        """Remove what was written."""


class ZipTarget:
    """One zip file.

    Parameters
    ----------
    path
        The file; an existing one is replaced when the backup is complete.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._part = path, path.with_name(path.name + _PART)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.fdopen(_create(self._part), "wb")
        self._zip = zipfile.ZipFile(self._file, "w", zipfile.ZIP_DEFLATED, compresslevel=6)

    @contextmanager
    def member(self, name: str) -> Iterator[IO[bytes]]:
        """Open the file of a collection for writing."""
        with self._zip.open(f"{name}{_SUFFIX}", "w", force_zip64=True) as file:
            yield file

    def finish(self, manifest: dict[str, Any]) -> None:
        """Write the manifest and give the file its final name."""
        self._zip.writestr(MANIFEST, json.dumps(manifest, indent=2))
        self._zip.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._part.replace(self._path)

    def abandon(self) -> None:
        """Remove what was written."""
        for file in (self._zip, self._file):
            # A full disk makes closing fail, too.
            with suppress(OSError):
                file.close()
        self._part.unlink(missing_ok=True)


class DirectoryTarget:
    """A directory with one file per collection.

    Parameters
    ----------
    path
        The directory; files of an earlier backup are replaced when this one is complete.
    compress
        Whether to compress the files with gzip.
    """

    def __init__(self, path: Path, *, compress: bool) -> None:
        self._path, self._compress = path, compress
        self._written: list[Path] = []
        path.mkdir(mode=0o700, parents=True, exist_ok=True)

    @contextmanager
    def member(self, name: str) -> Iterator[IO[bytes]]:
        """Open the file of a collection for writing."""
        final = self._path / f"{name}{_SUFFIX}{'.gz' if self._compress else ''}"
        part = final.with_name(final.name + _PART)
        self._written.append(final)
        with os.fdopen(_create(part), "wb") as file:
            if self._compress:
                with gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=6) as packed:
                    yield packed  # type: ignore[misc]  # a GzipFile is a binary file
            else:
                yield file
            file.flush()
            os.fsync(file.fileno())

    def finish(self, manifest: dict[str, Any]) -> None:
        """Write the manifest and give all files their final names."""
        for final in self._written:
            final.with_name(final.name + _PART).replace(final)
        # A file of an earlier backup with the other compression would be ambiguous.
        for stale in (path for name in MEMBERS for path in _files(self._path, name) if path not in self._written):
            stale.unlink()
        part = self._path / f"{MANIFEST}{_PART}"
        with os.fdopen(_create(part), "wb") as file:
            file.write(json.dumps(manifest, indent=2).encode())
        part.replace(self._path / MANIFEST)

    def abandon(self) -> None:
        """Remove what was written."""
        for final in (*self._written, self._path / MANIFEST):
            final.with_name(final.name + _PART).unlink(missing_ok=True)


@contextmanager
def writing(path: Path, *, database: str, compress: bool) -> Iterator[BackupTarget]:
    """Open a backup for writing: one file if the name ends in ``.zip``, else the directory `path`/`database`.

    Raises
    ------
    BackupError
        The files cannot be written; nothing is left of them.
    """
    target: BackupTarget | None = None
    try:
        target = ZipTarget(path) if path.suffix == ".zip" else DirectoryTarget(path / database, compress=compress)
        yield target
    except BaseException as error:
        if target:
            target.abandon()
        if isinstance(error, OSError):
            raise BackupError(f"the backup {path} cannot be written: {error}") from error
        raise


class Backup:
    """A backup that is to be read.

    Parameters
    ----------
    path
        The zip file, or the directory.
    members
        A function that opens each of the collections.
    manifest
        The manifest; empty if jobflow-remote or mongodump wrote the backup.
    """

    def __init__(self, path: Path, members: dict[str, Callable[[], IO[bytes]]], manifest: dict[str, Any]) -> None:
        self.path, self.manifest = path, manifest
        self._members = members
        missing = {"jobs", "flows", "jf_auxiliary"} - members.keys()
        if missing:
            raise BackupError(f"the backup {path} has no {sorted(missing)[0]}{_SUFFIX}; it is not complete")

    @contextmanager
    def member(self, name: str) -> Iterator[IO[bytes] | None]:
        """Open the file of a collection for reading; None if the backup does not have it.

        Raises
        ------
        BackupError
            The file is damaged or cannot be read.
        """
        if name not in self._members:
            yield None
            return
        try:
            with self._members[name]() as file:
                yield file
        except _DAMAGE as error:
            raise BackupError(f"the backup {self.path} is damaged in {name}{_SUFFIX}: {error}") from error


def find_backup(path: Path) -> Backup:
    """Return the backup at a path: a zip file, a directory with its files, or a directory that contains one of them.

    Raises
    ------
    BackupError
        There is no backup, or more than one.
    """
    if path.is_file():
        return _zip_backup(path)
    if not path.is_dir():
        raise BackupError(f"there is no backup {path}: no such file or directory")
    if _files(path, "jobs"):
        return _directory_backup(path)
    below = [
        each for each in sorted(path.iterdir()) if each.suffix == ".zip" or (each.is_dir() and _files(each, "jobs"))
    ]
    if len(below) != 1:
        found = f"several backups: {', '.join(each.name for each in below)}; name one" if below else "no backup"
        raise BackupError(f"the directory {path} contains {found}")
    return find_backup(below[0])


def _zip_backup(path: Path) -> Backup:
    try:
        packed = zipfile.ZipFile(path)
        names = set(packed.namelist())
        manifest = {}
        if MANIFEST in names:
            with packed.open(MANIFEST) as file:
                manifest = _manifest(file)
    except _DAMAGE as error:
        raise BackupError(f"{path} is not a backup, or it is truncated or damaged: {error}") from error
    members = {
        name: (lambda name=name: packed.open(f"{name}{_SUFFIX}")) for name in MEMBERS if f"{name}{_SUFFIX}" in names
    }
    return Backup(path, members, manifest)  # type: ignore[arg-type]  # a lambda with a default has no simpler type


def _directory_backup(path: Path) -> Backup:
    members: dict[str, Callable[[], IO[bytes]]] = {}
    for name in MEMBERS:
        files = _files(path, name)
        if len(files) > 1:
            raise BackupError(f"the backup {path} has both {files[0].name} and {files[1].name}; remove one of them")
        if files:
            members[name] = _opener(files[0])
    manifest = path / MANIFEST
    if not manifest.is_file():
        return Backup(path, members, {})
    try:
        with manifest.open("rb") as file:
            return Backup(path, members, _manifest(file))
    except _DAMAGE as error:
        raise BackupError(f"the backup {path} is damaged: {manifest.name}: {error}") from error


def _manifest(file: IO[bytes]) -> dict[str, Any]:
    """Read a manifest.

    Raises
    ------
    ValueError
        It is not one: too large, no JSON, or without the figures of the collections.
    """
    text = file.read(_LARGEST_MANIFEST + 1)
    if len(text) > _LARGEST_MANIFEST:
        raise ValueError(f"{MANIFEST} has more than {_LARGEST_MANIFEST} bytes")
    try:
        manifest = json.loads(text)
    except RecursionError:
        manifest = None
    stated = manifest.get("collections", {}) if isinstance(manifest, dict) else None
    if not isinstance(stated, dict) or not all(isinstance(figures, dict) for figures in stated.values()):
        raise ValueError(f"{MANIFEST} does not have the figures of the collections")
    return cast("dict[str, Any]", manifest)


def _opener(path: Path) -> Callable[[], IO[bytes]]:
    def opened() -> Any:
        return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")

    return opened


def _files(directory: Path, name: str) -> list[Path]:
    """Return the files of a collection in a directory."""
    names = (f"{name}{_SUFFIX}", f"{name}{_SUFFIX}.gz")
    return [directory / each for each in names if (directory / each).is_file()]


def _create(path: Path) -> int:
    """Create a file that only the user can read: jobs may contain secrets.

    What has the name is replaced and not followed: in a directory such as /tmp, another user may have put a link there.
    """
    path.unlink(missing_ok=True)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
