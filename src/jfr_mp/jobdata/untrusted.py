"""Reading files that a job or a worker left. The job decides what stands there, so nothing is taken for granted.

Every reader of such files comes through this module. It opens regular files alone, without following a link and
without waiting (a FIFO would block for ever), and reads no more than a limit.
"""

from __future__ import annotations

import errno
import gzip
import os
import stat
import zlib
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from jfr_mp.errors import HostError

#: The maximum size in bytes of a file that is parsed as a whole; its content must fit into MongoDB documents of 16 MB.
DOCUMENT_LIMIT = 128 * 2**20
#: The maximum size in bytes of the file of an additional store, compressed or not.
STORE_LIMIT = 4 * 2**30
#: The number of bytes of a text file that are kept, from its beginning and its end, if it is larger.
EXCERPT = 2**18
#: The maximum number of values in a parsed document; each takes up to 100 bytes of memory.
_MOST_VALUES = 8_000_000
#: The maximum depth of nested objects and arrays: MongoDB stores documents with up to 100 levels only.
_MOST_LEVELS = 100
_BLOCK = 2**20
_SEPARATORS = b",[{"


class NotRegular(OSError):
    """There is a link, a FIFO, a device or a directory in the place of a file."""

    def __init__(self, what: str) -> None:
        super().__init__(errno.ELOOP, f"it is {what} and not a regular file, so it is not read")


class TooLarge(OSError):
    """A file or its content is larger than what is read."""

    def __init__(self, what: str) -> None:
        super().__init__(errno.EFBIG, what)


_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFDIR: "a directory",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def require_regular(mode: int) -> None:
    """Raise `NotRegular` unless a mode of `lstat` is that of a regular file."""
    if not stat.S_ISREG(mode):
        raise NotRegular(_KINDS.get(stat.S_IFMT(mode), "something else"))


def require_size(size: int, limit: int | None) -> None:
    """Raise `TooLarge` if a file has more bytes than the limit; None is no limit."""
    if limit is not None and size > limit:
        advice = "; keep large results in an additional store" if limit == DOCUMENT_LIMIT else ""
        raise TooLarge(f"it has {size / 2**20:.0f} MB or more, and at most {limit / 2**20:.0f} MB are read{advice}")


def path_below(directory: Path, name: str) -> Path:
    """Return the path of a file below a directory, for a relative name that a host reported.

    Raises
    ------
    HostError
        Permanent: the name leads out of the directory, or a link on the way does.
    """
    parts = PurePosixPath(name).parts
    path = directory.joinpath(*parts)
    leads_out = not parts or name.startswith("/") or ".." in parts or "\0" in name
    if leads_out or not path.parent.resolve().is_relative_to(directory.resolve()):
        raise HostError(f"the host lists a file {name[:200]!r}, which would be outside of {directory}", permanent=True)
    return path


def open_untrusted(path: str | os.PathLike[str], limit: int | None = None) -> BinaryIO:
    """Open a regular file for reading.

    Parameters
    ----------
    path
        The file. A link at its end is not followed.
    limit
        The maximum size in bytes; None for any.

    Raises
    ------
    OSError
        Among others `NotRegular` and `TooLarge`.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise NotRegular(_KINDS[stat.S_IFLNK]) from None
        if error.errno == errno.ENXIO:
            raise NotRegular(_KINDS[stat.S_IFSOCK]) from None
        raise
    try:
        status = os.fstat(descriptor)
        require_regular(status.st_mode)
        require_size(status.st_size, limit)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_untrusted(path: str | os.PathLike[str], limit: int | None = None) -> bytes:
    """Return the content of a regular file; `OSError` as for `open_untrusted`, also if the file grows meanwhile."""
    with open_untrusted(path, limit) as file:
        content = file.read() if limit is None else file.read(limit + 1)
    require_size(len(content), limit)
    return content


def read_part(path: str | os.PathLike[str], offset: int, limit: int | None = None) -> bytes:
    """Return at most `limit` bytes of a regular file behind its first `offset` bytes."""
    with open_untrusted(path) as file:
        file.seek(offset)
        return file.read() if limit is None else file.read(limit)


def read_excerpt(path: str | os.PathLike[str]) -> bytes:
    """Return a regular file, or its beginning and its end if it is larger than `EXCERPT`."""
    with open_untrusted(path) as file:
        content = file.read(EXCERPT + 1)
        if len(content) <= EXCERPT:
            return content
        half = EXCERPT // 2
        file.seek(-half, os.SEEK_END)
        return content[:half] + file.read(half)


def read_store(path: Path, limit: int | None = None) -> bytes:
    """Return the content of the file of a transfer store, decompressed if its name ends with ``.gz``.

    Raises
    ------
    OSError
        As for `open_untrusted`; the limit also holds for the decompressed content.
    """
    if path.suffix != ".gz":
        return read_untrusted(path, limit)
    with open_untrusted(path, limit) as file, _unpacked(file) as unpacked:
        content = unpacked.read() if limit is None else unpacked.read(limit + 1)
    require_size(len(content), limit)
    return content


def require_store_file(path: Path, limit: int) -> None:
    """Raise `OSError` unless `path` is a regular file within the limit; memory use does not depend on its size."""
    with open_untrusted(path, limit) as file:
        if path.suffix != ".gz":
            return
        size = 0
        with _unpacked(file) as unpacked:
            try:
                while block := unpacked.read(_BLOCK):
                    size += len(block)
                    require_size(size, limit)
            except (EOFError, zlib.error):
                # Damaged; the reader of the format says so.
                return


def parse_json(content: bytes) -> Any:
    """Parse JSON that a job wrote.

    Raises
    ------
    ValueError
        It is not JSON.
    TooLarge
        It has too many values or levels for any document that could be stored.
    """
    from jfr_mp.jobdata import json_text

    require_few_values(content)
    try:
        parsed = json_text.load(content)
    except RecursionError:
        raise _too_deep() from None
    require_few_levels(parsed)
    return parsed


def require_few_values(content: bytes) -> None:
    """Raise `TooLarge` if JSON has so many values that parsing it could use up the memory."""
    values = sum(content.count(byte) for byte in _SEPARATORS)
    if values > _MOST_VALUES:
        raise TooLarge(f"it has {values} values, and at most {_MOST_VALUES} are read")


def require_few_levels(value: Any) -> None:
    """Raise `TooLarge` if a parsed document has too many levels of nested objects and arrays."""
    level = [value]
    for _ in range(_MOST_LEVELS + 1):
        level = [item for container in level for item in _items(container) if isinstance(item, (dict, list))]
        if not level:
            return
    raise _too_deep()


def _too_deep() -> TooLarge:
    return TooLarge(f"its objects and arrays are nested more than {_MOST_LEVELS} levels deep")


def parse_time(value: Any) -> datetime | None:
    """Return a time that a job wrote, as ISO text or in monty's serialized form, without importing what it names.

    Raises
    ------
    ValueError
        It is not a time.
    """
    text = value.get("string") if isinstance(value, dict) else value
    if not text:
        return None
    if not isinstance(text, str):
        raise ValueError(f"{str(text)[:100]!r} is not a time")
    time = datetime.fromisoformat(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _items(container: Any) -> Any:
    return container.values() if isinstance(container, dict) else container if isinstance(container, list) else ()


def _unpacked(file: BinaryIO) -> gzip.GzipFile:
    return gzip.GzipFile(fileobj=file)
