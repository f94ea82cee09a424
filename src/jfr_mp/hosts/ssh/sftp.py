"""Files on a host by SFTP."""

from __future__ import annotations

import errno
import stat
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from typing import Any, Self

from paramiko import Channel, Message, SFTPClient, SFTPError, SFTPFile
from paramiko.sftp import CMD_DATA, CMD_READ, int64
from paramiko.ssh_exception import SSHException

from jfr_mp.errors import HostError
from jfr_mp.hosts.ssh.interface import BLOCK, BlockReceiver, BytesTaken
from jfr_mp.hosts.ssh.paramiko_errors import translated
from jfr_mp.jobdata.untrusted import require_regular

#: How many read requests are under way at a time.
_WINDOW = 64


class SftpSession:
    """An open SFTP session.

    Parameters
    ----------
    client
        The session.
    channel
        What it runs on.
    finish
        Closes the channel.
    """

    def __init__(self, client: SFTPClient, channel: Channel, finish: Callable[[], None]) -> None:
        self._client = client
        self._channel = channel
        self._finish = finish

    @classmethod
    def on(cls, channel: Channel, finish: Callable[[], None]) -> Self:
        """Begin SFTP on a channel.

        Raises
        ------
        HostError
            The host offers no SFTP, or something else than an SFTP server answers.
        """
        try:
            channel.invoke_subsystem("sftp")
            return cls(SFTPClient(channel), channel, finish)
        except SSHException as error:
            raise HostError(
                f"the host offers no SFTP ({error}): a worker of type 'separated_transfer' can send the files through "
                "another host"
            ) from error
        except SFTPError as error:
            raise HostError(
                "the host's SFTP server cannot be understood: the user's shell start-up files there must print nothing "
                f"in a shell that is not interactive ({error})"
            ) from error

    @property
    def is_open(self) -> bool:
        """Whether the session is open, as far as is known: its server may have exited."""
        return not self._channel.closed

    def close(self) -> None:
        """Close the session."""
        self._finish()

    def write(self, path: str, content: Iterable[bytes], size: int, taken: BytesTaken) -> None:
        """Write a new file without waiting for each block, but hear of all that went wrong before the end."""
        with self._translated(), self._created(path) as file:
            done = 0
            file.set_pipelined(True)
            for block in content:
                # The last block waits for the answers to all those before it.
                file.set_pipelined(done + len(block) < size)
                file.write(block)
                done += len(block)
                taken(done)
            file.set_pipelined(False)

    def read(self, path: str, offset: int, receive: BlockReceiver, limit: int | None = None) -> int:
        """Read a regular file with several requests under way; stop early if it has become shorter."""
        with self._translated():
            # Opening a FIFO would stop the server for ever.
            found = self._client.lstat(path)
            require_regular(found.st_mode or stat.S_IFREG)
        size = found.st_size or 0
        end = size if limit is None else min(size, offset + limit)
        if end <= offset and size:
            return size
        with self._translated(), self._client.open(path, "rb") as file:
            for block in _blocks(self._client, file, offset, end):
                receive(block, size)
        return size

    def size(self, path: str) -> int:
        """Return the size of a file in bytes."""
        with self._translated():
            return self._client.stat(path).st_size or 0

    def is_directory(self, path: str) -> bool:
        """Whether there is a directory at `path`."""
        with self._translated():
            return stat.S_ISDIR(self._client.stat(path).st_mode or 0)

    def rename(self, path: str, new_path: str) -> None:
        """Rename a file over an existing one, also on a server that needs two steps for it."""
        with self._translated():
            try:
                self._client.posix_rename(path, new_path)
            except OSError as error:
                if error.errno is not None or "unsupported" not in str(error).lower():
                    raise
                with suppress(FileNotFoundError):
                    self._client.remove(new_path)
                self._client.rename(path, new_path)

    def remove(self, path: str) -> None:
        """Remove a file."""
        with self._translated():
            self._client.remove(path)

    def _translated(self) -> AbstractContextManager[None]:
        return translated(lambda: not self._channel.closed)

    def _created(self, path: str) -> SFTPFile:
        """Make a new file: an earlier attempt on a connection that broke may still be writing to the old one."""
        with suppress(OSError):
            return self._client.open(path, "wbx")
        with suppress(FileNotFoundError):
            self._client.remove(path)
        return self._client.open(path, "wbx")


def _blocks(client: SFTPClient, file: SFTPFile, offset: int, end: int) -> Iterator[bytes]:
    """Read a part of a file; the blocks come in their order."""
    # paramiko's own read-ahead does this in a thread, which dies with a traceback when the connection breaks.
    answers = _Answers()
    asked: deque[tuple[int, int, int]] = deque()
    while asked or offset < end:
        while offset < end and len(asked) < _WINDOW:
            length = min(BLOCK, end - offset)
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
        number: int = client._async_request(self, CMD_READ, file.handle, int64(offset), length)  # noqa: SLF001 - paramiko offers no other way
        return number

    def wait(self, client: Any, number: int) -> bytes:
        """Return the answer to a request; empty if the file has ended before."""
        while number not in self._blocks:
            client._read_response()  # noqa: SLF001 - paramiko offers no other way
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
