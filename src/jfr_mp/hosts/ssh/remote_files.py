"""Files on a host that is reached by SSH."""

from __future__ import annotations

import errno
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from jfr_mp.errors import HostError
from jfr_mp.hosts.base import HostPath, Progress
from jfr_mp.hosts.file_errors import is_permanent, is_permanent_text
from jfr_mp.hosts.ssh.interface import BLOCK, ConnectionBroken, FileSession
from jfr_mp.hosts.ssh.link import Link
from jfr_mp.hosts.ssh.watchdog import Watchdog
from jfr_mp.jobdata.untrusted import require_size


class RemoteFiles:
    """Reads and writes files over a link. Every operation may be repeated, and is repeated if the connection breaks.

    Parameters
    ----------
    link
        The way to the host.
    explain
        Finds out why a file cannot be written, if SFTP says no more than "Failure". It may return an empty text.
    """

    def __init__(self, link: Link, explain: Callable[[str], str]) -> None:
        self._link = link
        self._explain = explain

    def write(self, path: HostPath, content: bytes, progress: Progress | None = None) -> None:
        """Write a file."""
        self._put(str(path), lambda: io.BytesIO(content), len(content), progress)

    def put(self, source: Path, path: HostPath, progress: Progress | None = None) -> None:
        """Copy a file of this machine to the host."""
        with _here(source):
            size = source.stat().st_size
        self._put(str(path), lambda: source.open("rb"), size, progress)

    def get(self, path: HostPath, target: Path, limit: int | None = None, progress: Progress | None = None) -> None:
        """Copy a file of the host to this machine, unless it has more bytes than the limit."""

        def work(session: FileSession, watchdog: Watchdog) -> None:
            if limit is not None:
                require_size(session.size(str(path)), limit)
            temporary = Path(_temporary(str(target)))
            with _here(target):
                # A new file, not the one that another process may still write to.
                temporary.unlink(missing_ok=True)
                copy = temporary.open("xb")
            done = 0

            def receive(block: bytes, size: int) -> None:
                nonlocal done
                with _here(target):
                    copy.write(block)
                done += len(block)
                watchdog.progress()
                if progress is not None:
                    progress(done, size)

            with copy:
                try:
                    size = session.read(str(path), 0, receive, limit)
                    require_size(size, limit)
                except BaseException:  # no incomplete file stays
                    temporary.unlink(missing_ok=True)
                    raise
            if done < size:
                temporary.unlink()
                raise HostError(f"{self._link.name}: {path} became shorter while it was copied")
            temporary.replace(target)

        with self._doing("read", path):
            self._link.with_files(work)

    def read(self, path: HostPath, limit: int | None = None) -> bytes:
        """Return the content of a file, unless it has more bytes than the limit."""
        with self._doing("read", path):
            content = self.read_from(path, 0, None if limit is None else limit + 1)
            require_size(len(content), limit)
        return content

    def read_from(self, path: HostPath, offset: int, limit: int | None = None) -> bytes:
        """Return at most `limit` bytes that a file holds behind its first `offset` bytes."""
        with self._doing("read", path):
            return self._read_from(path, offset, limit)[1]

    def read_on(self, path: HostPath, offset: int, limit: int) -> tuple[int, bytes]:
        """Return the size of a file, 0 if there is none, and at most `limit` bytes behind its first `offset` bytes."""
        with self._doing("read", path), suppress(FileNotFoundError):
            return self._read_from(path, offset, limit)
        return 0, b""

    def _read_from(self, path: HostPath, offset: int, limit: int | None) -> tuple[int, bytes]:
        def work(session: FileSession, watchdog: Watchdog) -> tuple[int, bytes]:
            content = bytearray()

            def receive(block: bytes, _size: int) -> None:
                content.extend(block)
                watchdog.progress()

            return session.read(str(path), offset, receive, limit), bytes(content)

        return self._link.with_files(work)

    def size(self, path: HostPath) -> int | None:
        """Return the size of a file in bytes, or None if there is no such file."""
        with self._doing("look at", path), suppress(FileNotFoundError):
            return self._link.with_files(lambda session, _: session.size(str(path)))
        return None

    def rename(self, path: HostPath, new_path: HostPath) -> None:
        """Rename a file, over an existing one."""
        with self._doing("rename", path):
            self._link.with_files(lambda session, _: session.rename(str(path), str(new_path)))

    def remove(self, path: HostPath) -> None:
        """Remove a file, if there is one."""
        with self._doing("remove", path), suppress(FileNotFoundError):
            self._link.with_files(lambda session, _: session.remove(str(path)))

    def _put(self, path: str, source: Callable[[], BinaryIO], size: int, progress: Progress | None) -> None:
        """Write a file under a temporary name, check that all of it arrived and give it its name."""

        def work(session: FileSession, watchdog: Watchdog) -> None:
            temporary = _temporary(path)

            def taken(done: int) -> None:
                watchdog.progress()
                if progress is not None:
                    progress(done, size)

            with source() as opened:
                try:
                    session.write(temporary, _blocks(opened, size), size, taken)
                    arrived = session.size(temporary)
                    if arrived != size:
                        raise OSError(f"{arrived} of {size} bytes arrived")
                    session.rename(temporary, path)
                except OSError as error:
                    # While the file still fills the disk, if that is what is wrong.
                    reason = self._explain(path) if error.errno is None else ""
                    with suppress(OSError, ConnectionBroken):
                        session.remove(temporary)
                    if reason:
                        raise OSError(reason) from error
                    raise

        with self._doing("write", path):
            self._link.with_files(work)

    @contextmanager
    def _doing(self, what: str, path: HostPath) -> Iterator[None]:
        """Turn what SFTP says into one line that names the path."""
        try:
            yield
        except OSError as error:
            reason = error.strerror or str(error)
            permanent = is_permanent(error) or is_permanent_text(reason)
            if error.errno == errno.ENOENT and self._lies_below_a_file(path):
                # SFTP has one answer for both.
                reason, permanent = "Not a directory", True
            raise HostError(f"{self._link.name}: cannot {what} {path}: {reason}", permanent=permanent) from error

    def _lies_below_a_file(self, path: HostPath) -> bool:
        """Whether there is something else than a directory above `path`."""

        def work(session: FileSession, _watchdog: Watchdog) -> bool:
            for parent in PurePosixPath(path).parents:
                with suppress(FileNotFoundError):
                    return not session.is_directory(str(parent))
            return False

        return self._link.with_files(work)


@contextmanager
def _here(path: Path) -> Iterator[None]:
    """Turn what the file system of this machine says into one line that names the path."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise HostError(
            f"this machine: cannot copy to or from {path}: {reason}", permanent=is_permanent(error)
        ) from error


def _blocks(opened: BinaryIO, size: int) -> Iterator[bytes]:
    """Read the first `size` bytes of a file of this machine, which may still be growing."""
    while block := opened.read(min(size, BLOCK)):
        size -= len(block)
        yield block


def _temporary(path: str) -> str:
    """Return the name of a file until it is complete: always the same, so that no attempt leaves another one behind."""
    return str(PurePosixPath(path).with_name(f".{PurePosixPath(path).name}.part"))
