"""Opening and closing logins at which the user has to be present.

A broker process owns the connection of one project to one host. It is started for one login: what the host asks comes
to the process that starts it, and the answers go back through a pair of sockets that no other process has. Then it
listens on a Unix socket until the connection ends.
"""

from __future__ import annotations

import fcntl
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from jfr_mp.errors import HostError, HostUnreachable
from jfr_mp.hosts.login import broker_messages as messages
from jfr_mp.hosts.login.broker_socket import broker_socket, is_same_user, make_private
from jfr_mp.hosts.login.lent_connection import LentConnection
from jfr_mp.hosts.login.wire import Wire
from jfr_mp.hosts.ssh.endpoint import Endpoint
from jfr_mp.hosts.ssh.interface import ConnectionBroken
from jfr_mp.hosts.ssh.known_hosts import KNOWN_HOSTS
from jfr_mp.hosts.ssh.questions import Answer

#: Seconds for a broker to exit.
_CLOSE_PATIENCE = 30.0


def is_open(endpoint: Endpoint, base_dir: Path) -> bool:
    """Whether the user has logged in and the connection is alive."""
    try:
        LentConnection(str(endpoint), broker_socket(endpoint, base_dir)).close()
    except HostUnreachable:
        return False
    return True


def open_login(endpoint: Endpoint, base_dir: Path, answer: Answer) -> bool:
    """Log in and leave the connection to a broker, unless there is one already.

    Parameters
    ----------
    endpoint
        Where to log in.
    base_dir
        The project's directory, in which the keys of new hosts are recorded.
    answer
        Asks the user.

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
    make_private(path.parent)
    with _alone(path):
        if is_open(endpoint, base_dir):
            return False
        order = messages.LoginOrder(endpoint=endpoint, known_hosts=base_dir / KNOWN_HOSTS, socket=path)
        _start_broker(order, answer)
    return True


def close_login(endpoint: Endpoint, base_dir: Path) -> bool:
    """Close the connection, for all processes that use it; return whether there was one.

    The process of the broker has ended when this returns.

    Raises
    ------
    HostError
        The broker does not react.
    """
    with closing(Wire(socket.socket(socket.AF_UNIX))) as wire:
        try:
            wire.socket.connect(str(broker_socket(endpoint, base_dir)))
        except OSError:
            return False
        if not is_same_user(wire.socket):
            return False
        with suppress(ConnectionBroken):
            wire.send(messages.Close())
            if not wire.has_arrived(_CLOSE_PATIENCE):
                raise HostError(
                    f"{endpoint}: the login broker does not react: "
                    f"kill the process jfr_mp.hosts.login.broker {endpoint}"
                )
    return True


def _start_broker(order: messages.LoginOrder, answer: Answer) -> None:
    """Start a broker and return when it listens."""
    near, far = socket.socketpair()
    with far, order.socket.with_suffix(".log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "jfr_mp.hosts.login.broker", str(order.endpoint)],
            stdin=far.fileno(),
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
        )
    with closing(Wire(near)) as wire:
        try:
            wire.send(order)
            while isinstance(said := wire.expect(messages.Asked, messages.Refused, messages.Granted), messages.Asked):
                wire.send(messages.Answers(answers=answer(said.question)))
            if isinstance(said, messages.Refused):
                raise said.to_error()
        except BaseException as error:
            # Ctrl-C at a prompt included.
            process.kill()
            process.wait()
            if isinstance(error, ConnectionBroken):
                raise HostError(f"{order.endpoint}: the process that logs in exited early: see {log.name}") from error
            raise
    # It outlives this process, which therefore does not wait for it.
    process.returncode = 0


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Let one person at a time log in."""
    with path.with_suffix(".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
