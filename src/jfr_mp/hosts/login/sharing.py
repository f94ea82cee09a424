"""Logging in where a person has to: one login, kept by a broker process and used by all other processes.

A broker (`jfr_mp.hosts.login.broker`) owns the connection of one project to one host. It is born for one login: the
process that starts it passes on its questions to the person who sits there, and the answers go back through a pipe that
nobody else sees. Then it listens on a Unix socket until the connection ends.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from pathlib import Path

from jfr_mp.errors import HostError, HostUnreachable, JfrMpError
from jfr_mp.hosts.login.client import BrokeredConnection
from jfr_mp.hosts.ssh.config import Endpoint
from jfr_mp.hosts.ssh.known_hosts import KNOWN_HOSTS

#: The address of a Unix socket has room for 103 bytes. Not `tempfile.gettempdir()`: TMPDIR differs between shells.
_SHORT_PARENT = Path("/tmp")


@dataclass(frozen=True)
class Question:
    """What a host wants to know of a person.

    Parameters
    ----------
    host
        Who asks.
    title, instructions
        What the host has to say first; mostly empty.
    prompts
        Each with whether the answer may be seen.
    """

    host: str
    title: str
    instructions: str
    prompts: tuple[tuple[str, bool], ...]


#: Returns one answer for each prompt.
Answer = Callable[[Question], list[str]]


@dataclass(frozen=True)
class Order:
    """What a broker needs to know: where to log in, where new host keys are recorded, where to listen."""

    endpoint: Endpoint
    known_hosts: Path
    socket: Path


def broker_dir(base_dir: Path) -> Path:
    """Return the directory with the sockets of a project's brokers on this machine, whether it exists or not."""
    where = f"{base_dir.absolute()}\0{socket.gethostname()}"
    return _SHORT_PARENT / f"jfr-mp-{os.getuid()}-{_digest(where)}"


def broker_socket(endpoint: Endpoint, base_dir: Path) -> Path:
    """Return where the broker of a project for a login listens, whether there is one or not."""
    way = []
    hop: Endpoint | None = endpoint
    while hop:
        way.append(f"{hop} {hop.proxy_command}")
        hop = hop.gateway
    return broker_dir(base_dir) / f"{_digest(chr(0).join(way))}.sock"


def is_open(endpoint: Endpoint, base_dir: Path) -> bool:
    """Tell whether somebody has logged in and the connection lives."""
    try:
        BrokeredConnection(str(endpoint), broker_socket(endpoint, base_dir)).close()
    except HostUnreachable:
        return False
    return True


def open_login(endpoint: Endpoint, base_dir: Path, answer: Answer) -> bool:
    """Log in and leave the connection to a broker, unless there is one already.

    Parameters
    ----------
    endpoint
        Where to.
    base_dir
        The project's directory, where the keys of new hosts are recorded.
    answer
        Asks the person.

    Returns
    -------
    bool
        False if the connection was open already.

    Raises
    ------
    HostUnreachable
        Not possible now, or the answers were wrong; says why in one line.
    """
    path = broker_socket(endpoint, base_dir)
    _make_private(path.parent)
    with _alone(path):
        if is_open(endpoint, base_dir):
            return False
        _start_broker(Order(endpoint, base_dir / KNOWN_HOSTS, path), answer)
    return True


def close_login(endpoint: Endpoint, base_dir: Path) -> bool:
    """End the connection, for all who use it; tell whether there was one."""
    try:
        connection = BrokeredConnection(str(endpoint), broker_socket(endpoint, base_dir))
    except HostUnreachable:
        return False
    connection.end()
    return True


def _start_broker(order: Order, answer: Answer) -> None:
    """Start a broker and return when it listens."""
    ours, theirs = socket.socketpair()
    with theirs, order.socket.with_suffix(".log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "jfr_mp.hosts.login.broker", str(order.endpoint)],
            stdin=theirs.fileno(),
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
        )
    with Pipe(ours.detach()) as pipe:
        try:
            pipe.send(order)
            while (said := _heard(pipe, order, log.name)) is not None:
                if isinstance(said, JfrMpError):
                    raise said
                pipe.send(answer(said))
        except BaseException:
            # Among others Ctrl-C at a prompt.
            process.kill()
            process.wait()
            raise
    # It outlives this process, which therefore does not wait for it.
    process.returncode = 0


def _heard(pipe: Pipe, order: Order, log: str) -> Question | JfrMpError | None:
    """Return what a broker says: a question, why it cannot log in, or, when it listens, None."""
    try:
        said: Question | JfrMpError | None = pipe.recv()
    except (EOFError, OSError) as error:
        raise HostError(f"{order.endpoint}: the process that logs in ended early: see {log}") from error
    return said


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _make_private(directory: Path) -> None:
    """Make a directory for this user alone, or make sure that the one in its place is: /tmp is open to everybody."""
    directory.mkdir(mode=0o700, exist_ok=True)
    status = directory.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise HostError(f"{directory} is not a directory of yours alone: remove it, or have it removed")


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Let one person at a time log in."""
    with path.with_suffix(".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
