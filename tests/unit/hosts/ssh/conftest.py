from __future__ import annotations

import os
import stat
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from jfr_mp.hosts.ssh.interface import AliveSignal, BytesTaken, ConnectionBroken, Output, RemoteCommand, TookTooLong
from jfr_mp.hosts.ssh.link import Link


class LocalConnection:
    """A connection to this machine, which breaks when it is told to.

    Parameters
    ----------
    breaks
        Called before each operation; it may raise ConnectionBroken.
    """

    def __init__(self, breaks: Callable[[], None] = lambda: None) -> None:
        self._breaks = breaks
        self.is_alive = True

    @contextmanager
    def commands(self, alive: AliveSignal) -> Iterator[LocalConnection]:
        yield self

    @contextmanager
    def files(self, alive: AliveSignal) -> Iterator[LocalConnection]:
        yield self

    def close(self) -> None:
        self.is_alive = False

    def run(self, command: RemoteCommand, alive: AliveSignal) -> Output:
        self._breaks()
        process = subprocess.Popen(
            ["/bin/bash", "-c", command.line],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **(command.environment or {})},
            start_new_session=True,
        )
        try:
            stdout, stderr = process.communicate(command.stdin, command.limit)
        except subprocess.TimeoutExpired as late:
            # It runs on, as on a real host.
            threading.Thread(target=process.communicate).start()
            raise TookTooLong(late.stdout or b"") from None
        return Output(stdout, stderr, max(process.returncode, -1))

    def write(self, path: str, content: Iterable[bytes], size: int, taken: BytesTaken) -> None:
        self._breaks()
        done = 0
        with Path(path).open("wb") as file:
            for block in content:
                file.write(block)
                done += len(block)
                taken(done)

    def read(self, path: str, offset: int, receive: Callable[[bytes, int], None], limit: int | None = None) -> int:
        self._breaks()
        content = Path(path).read_bytes()
        receive(content[offset:][:limit], len(content))
        return len(content)

    def size(self, path: str) -> int:
        self._breaks()
        return Path(path).stat().st_size

    def is_directory(self, path: str) -> bool:
        return stat.S_ISDIR(Path(path).stat().st_mode)

    def rename(self, path: str, new_path: str) -> None:
        self._breaks()
        Path(path).replace(new_path)

    def remove(self, path: str) -> None:
        self._breaks()
        Path(path).unlink()


class Breaks:
    """Breaks as many operations as it is told to."""

    def __init__(self) -> None:
        self.left = 0
        self.connections: list[LocalConnection] = []

    def __call__(self) -> None:
        if self.left:
            self.left -= 1
            raise ConnectionBroken("a cable was pulled")

    def connect(self) -> LocalConnection:
        self.connections.append(LocalConnection(self))
        return self.connections[-1]


@pytest.fixture
def breaks() -> Breaks:
    return Breaks()


@pytest.fixture
def link(breaks: Breaks) -> Link:
    """A link to this machine, whose connections are those of `breaks`."""
    return Link("here", breaks.connect, 60)
