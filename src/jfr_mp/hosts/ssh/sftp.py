"""Files on a host that is reached by SSH."""

from __future__ import annotations

import errno
import io
import stat
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from paramiko import Message, SFTPClient, SFTPFile
from paramiko.sftp import CMD_DATA, CMD_READ, int64

from jfr_mp.errors import HostError
from jfr_mp.hosts.base import HostPath, Progress
from jfr_mp.hosts.faults import is_permanent, is_permanent_text
from jfr_mp.hosts.ssh.session_pool import Link
from jfr_mp.hosts.ssh.watchdog import Watchdog

#: Bytes in one request, the most that every server takes, and how many requests are under way at a time.
_BLOCK = 32768
_WINDOW = 64


class RemoteFiles:
    """Reads and writes files over a link; all of it may be done twice, and is where the connection breaks.

    Parameters
    ----------
    link
        The way to the host.
    explain
        Finds out why a file cannot be written, where SFTP says no more than "Failure". It may return an empty text.
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

    def get(self, path: HostPath, target: Path, progress: Progress | None = None) -> None:
        """Copy a file of the host to this machine."""

        def work(client: SFTPClient, watchdog: Watchdog) -> None:
            with client.open(str(path), "rb") as file:
                size = file.stat().st_size or 0
                temporary = Path(_temporary(str(target)))
                with _here(target):
                    # A new file, not the one that another process may still write to.
                    temporary.unlink(missing_ok=True)
                    copy = temporary.open("xb")
                with copy:
                    done = 0
                    for block in _blocks(client, file, 0, size):
                        with _here(target):
                            copy.write(block)
                        done += len(block)
                        watchdog.progress()
                        if progress is not None:
                            progress(done, size)
                if done < size:
                    temporary.unlink()
                    raise HostError(f"{self._link.name}: {path} became shorter while it was copied")
                temporary.replace(target)

        with self._doing("read", path):
            self._link.with_sftp(work)

    def read(self, path: HostPath, offset: int = 0) -> bytes:
        """Return what a file holds behind its first `offset` bytes."""

        def work(client: SFTPClient, watchdog: Watchdog) -> bytes:
            content = bytearray()
            with client.open(str(path), "rb") as file:
                for block in _blocks(client, file, offset, file.stat().st_size or 0):
                    content += block
                    watchdog.progress()
            return bytes(content)

        with self._doing("read", path):
            return self._link.with_sftp(work)

    def size(self, path: HostPath) -> int | None:
        """Return the size of a file in bytes, or None where there is none."""
        with self._doing("look at", path), suppress(FileNotFoundError):
            return self._link.with_sftp(lambda client, _: client.stat(str(path)).st_size)
        return None

    def rename(self, path: HostPath, new_path: HostPath) -> None:
        """Rename a file, over an existing one."""

        def work(client: SFTPClient, _watchdog: Watchdog) -> None:
            _rename(client, str(path), str(new_path))

        with self._doing("rename", path):
            self._link.with_sftp(work)

    def remove(self, path: HostPath) -> None:
        """Remove a file; that there is none is fine."""
        with self._doing("remove", path), suppress(FileNotFoundError):
            self._link.with_sftp(lambda client, _: client.remove(str(path)))

    def _put(self, path: str, source: Callable[[], BinaryIO], size: int, progress: Progress | None) -> None:
        """Write a file under a temporary name, check that all of it arrived and give it its name."""

        def work(client: SFTPClient, watchdog: Watchdog) -> None:
            temporary = _temporary(path)
            with source() as content:
                try:
                    with _created(client, temporary) as file:
                        _pour(content, file, size, watchdog, progress)
                    arrived = client.stat(temporary).st_size
                    if arrived != size:
                        raise OSError(f"{arrived} of {size} bytes arrived")
                    _rename(client, temporary, path)
                except OSError as error:
                    # While the file still fills the disk, if that is what is wrong.
                    reason = self._explain(path) if _is_vague(client, error) else ""
                    with suppress(OSError, EOFError):
                        client.remove(temporary)
                    if reason:
                        raise OSError(reason) from error
                    raise

        with self._doing("write", path):
            self._link.with_sftp(work)

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
        """Tell whether something in the place of a directory above `path` is none."""

        def work(client: SFTPClient, _watchdog: Watchdog) -> bool:
            for parent in PurePosixPath(path).parents:
                try:
                    mode = client.stat(str(parent)).st_mode or 0
                except FileNotFoundError:
                    continue
                return not stat.S_ISDIR(mode)
            return False

        return self._link.with_sftp(work)


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


def _temporary(path: str) -> str:
    """Return the name that a file has until it is complete: always the same, so that no attempt leaves one behind."""
    return str(PurePosixPath(path).with_name(f".{PurePosixPath(path).name}.part"))


def _is_vague(client: SFTPClient, error: OSError) -> bool:
    """Tell whether a failure is one of those that SFTP has no name for."""
    channel = client.get_channel()
    return error.errno is None and channel is not None and not channel.closed


def _created(client: SFTPClient, path: str) -> SFTPFile:
    """Make a new file: an earlier attempt on a connection that broke may still be writing to the old one."""
    with suppress(OSError):
        return client.open(path, "wbx")
    with suppress(FileNotFoundError):
        client.remove(path)
    return client.open(path, "wbx")


def _rename(client: SFTPClient, path: str, new_path: str) -> None:
    """Rename a file over an existing one, also on a server that can do that in two steps only."""
    try:
        client.posix_rename(path, new_path)
    except OSError as error:
        if error.errno is not None or "unsupported" not in str(error).lower():
            raise
        with suppress(FileNotFoundError):
            client.remove(new_path)
        client.rename(path, new_path)


def _pour(content: BinaryIO, file: SFTPFile, size: int, watchdog: Watchdog, progress: Progress | None) -> None:
    """Write a file without waiting for each block, but hear of all that went wrong before the end."""
    done = 0
    file.set_pipelined(True)
    while done < size and (block := content.read(_BLOCK)):
        # The last block waits for the answers to all those before it.
        file.set_pipelined(done + len(block) < size)
        file.write(block)
        done += len(block)
        watchdog.progress()
        if progress is not None:
            progress(done, size)
    file.set_pipelined(False)


def _blocks(client: SFTPClient, file: SFTPFile, offset: int, end: int) -> Iterator[bytes]:
    """Read a file with several requests under way; stop early where it has become shorter."""
    # paramiko's own read-ahead does this in a thread, which dies with a traceback when the connection breaks.
    answers = _Answers()
    asked: deque[tuple[int, int, int]] = deque()
    while asked or offset < end:
        while offset < end and len(asked) < _WINDOW:
            length = min(_BLOCK, end - offset)
            asked.append((answers.ask(client, file, offset, length), offset, length))
            offset += length
        number, start, length = asked.popleft()
        block = answers.wait(client, number)
        yield block
        start += len(block)
        length -= len(block)
        while length:
            # Servers may send less than they were asked for.
            file.seek(start)
            rest = file.read(length)
            if not rest:
                return
            yield rest
            start += len(rest)
            length -= len(rest)


class _Answers:
    """The answers to read requests, which come in any order; paramiko calls `_async_response` with each."""

    def __init__(self) -> None:
        self._blocks: dict[int, bytes | Exception] = {}

    def ask(self, client: Any, file: Any, offset: int, length: int) -> int:
        """Ask for a part of a file; return the number of the request."""
        number: int = client._async_request(self, CMD_READ, file.handle, int64(offset), length)
        return number

    def wait(self, client: Any, number: int) -> bytes:
        """Return the answer to a request; empty where the file has ended before."""
        while number not in self._blocks:
            client._read_response()
        answer = self._blocks.pop(number)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _async_response(self, kind: int, message: Message, number: int) -> None:
        if kind == CMD_DATA:
            self._blocks[number] = message.get_string()
        else:
            self._blocks[number] = _failure(message)


def _failure(message: Message) -> bytes | Exception:
    """Read the answer to a request that failed."""
    end_of_file, missing, denied = 1, 2, 3
    code, text = message.get_int(), message.get_text()
    if code == end_of_file:
        return b""
    numbers = {missing: errno.ENOENT, denied: errno.EACCES}
    return OSError(numbers[code], text) if code in numbers else OSError(text)
