"""The broker: a process that has logged in to a host once and lends its connection to other processes of the user.

It ends when its connection does, or when somebody wants it to; the others then learn that a login is needed.
"""

from __future__ import annotations

import json
import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from multiprocessing.connection import Connection as Pipe
from pathlib import Path

from paramiko import Channel
from paramiko.ssh_exception import SSHException

from jfr_mp.errors import HostError, HostUnreachable, JfrMpError
from jfr_mp.hosts.login.client import EXIT_STATUS, HEADING, STATUS, STDERR, STDOUT, read_line
from jfr_mp.hosts.login.sharing import Order, Question
from jfr_mp.hosts.ssh.connection import SshConnection, connect
from jfr_mp.hosts.ssh.watchdog import Watchdog

#: An sshd allows ten sessions by default, now for all processes together.
_COMMANDS, _TRANSFERS = 4, 4
#: Seconds for which a session is asked for again and again, and between two times.
_SESSION_PATIENCE, _SESSION_PAUSE = 15.0, 0.1
#: Seconds between two looks at whether the host still answers, and how long it may take.
_BEAT, _PATIENCE = 15.0, 60.0
_BLOCK = 32768


class Broker:
    """Lends a connection on a Unix socket.

    Parameters
    ----------
    connection
        Logged in.
    path
        Where to listen; what is there is replaced.
    """

    def __init__(self, connection: SshConnection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self._commands = threading.BoundedSemaphore(_COMMANDS)
        self._transfers = threading.BoundedSemaphore(_TRANSFERS)
        self._listener = socket.socket(socket.AF_UNIX)
        unfinished = path.with_suffix(f".{os.getpid()}")
        self._listener.bind(str(unfinished))
        self._listener.listen()
        unfinished.rename(path)
        self._inode = path.stat().st_ino

    def serve(self) -> None:
        """Lend the connection until it ends."""
        threading.Thread(target=self._accept, daemon=True).start()
        transport = self._connection.transport
        while self._connection.is_alive:
            with Watchdog(self._connection.close, _PATIENCE):
                transport.global_request("keepalive@openssh.com", wait=True)
            transport.join(_BEAT)
        with suppress(FileNotFoundError):
            # After a new login the socket is another broker's.
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()

    def _accept(self) -> None:
        while True:
            client, _ = self._listener.accept()
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        """Do what a client wants. That it goes, or that the connection ends, is no error of ours."""
        with client, suppress(OSError, EOFError, SSHException):
            if not _is_ours(client) or not self._connection.is_alive:
                return
            try:
                match read_line(client).strip():
                    case b"session":
                        self._run(client)
                    case b"sftp":
                        self._transfer(client)
                    case b"close":
                        _grant(client)
                        self._connection.close()
                    case b"presence":
                        _grant(client)
                        client.recv(1)
            except HostError as error:
                away = isinstance(error, HostUnreachable)
                _say(client, {"refused": str(error), "unreachable": away, "permanent": error.permanent})

    def _run(self, client: socket.socket) -> None:
        """Run a command."""
        with self._commands, ExitStack() as opened:
            channel = _patiently(lambda: opened.enter_context(self._connection.session()))
            _grant(client)
            order = json.loads(read_line(client))
            if order["environment"]:
                channel.update_environment(order["environment"])
            channel.exec_command(order["command"])
            frame = partial(_send_frame, client, threading.Lock())
            with _fed(channel, client):
                errors = _start(partial(_copy, channel.recv_stderr, partial(frame, STDERR)))
                _copy(channel.recv, partial(frame, STDOUT))
                errors.join()
                status = channel.recv_exit_status()
                if status < 0:
                    # A signal has ended the command, or the connection is no more: only in the first case is this
                    # possible, and the client is to hear of the end.
                    self._connection.transport.open_session().close()
                frame(STATUS, EXIT_STATUS.pack(status))

    def _transfer(self, client: socket.socket) -> None:
        """Pass on what SFTP says."""
        with self._transfers, closing(_patiently(self._connection.sftp_channel)) as channel:
            _grant(client)
            with _fed(channel, client):
                _copy(channel.recv, client.sendall)


def _patiently(opened: Callable[[], Channel]) -> Channel:
    """Return a channel as soon as the host grants one: it still counts those that have just been closed."""
    deadline = time.monotonic() + _SESSION_PATIENCE
    while True:
        try:
            return opened()
        except HostUnreachable:
            if time.monotonic() > deadline:
                raise
            time.sleep(_SESSION_PAUSE)


@contextmanager
def _fed(channel: Channel, client: socket.socket) -> Iterator[None]:
    """Pass on what the client sends; the channel is closed when the client goes."""

    def feed() -> None:
        while block := client.recv(_BLOCK):
            channel.sendall(block)
        channel.shutdown_write()
        # The end of the input is one thing, that the client has gone another.
        gone = select.poll()
        gone.register(client.fileno(), 0)
        gone.poll()
        channel.close()

    feeder = _start(feed)
    try:
        yield
    finally:
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)
        channel.close()
        feeder.join()


def _start(work: Callable[[], None]) -> threading.Thread:
    """Do something in a thread, until one of both sides goes."""

    def run() -> None:
        with suppress(OSError, EOFError, SSHException):
            work()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


def _copy(receive: Callable[[int], bytes], send: Callable[[bytes], object]) -> None:
    while block := receive(_BLOCK):
        send(block)


def _send_frame(client: socket.socket, lock: threading.Lock, kind: bytes, content: bytes) -> None:
    with lock:
        client.sendall(HEADING.pack(kind, len(content)) + content)


def _grant(client: socket.socket) -> None:
    _say(client, {})


def _say(client: socket.socket, answer: dict[str, object]) -> None:
    client.sendall(json.dumps(answer).encode() + b"\n")


def _is_ours(client: socket.socket) -> bool:
    """Tell whether a process of the same user is at the other end."""
    credentials = struct.Struct("3i")
    _pid, uid, _gid = credentials.unpack(client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, credentials.size))
    return bool(uid == os.getuid())


def main() -> None:
    """Log in with the help of the process at the other end of standard input, then serve."""
    with Pipe(0) as pipe:

        def ask(question: Question) -> list[str]:
            pipe.send(question)
            answers: list[str] = pipe.recv()
            return answers

        order: Order = pipe.recv()
        try:
            broker = Broker(connect(order.endpoint, order.known_hosts, ask), order.socket)
        except JfrMpError as error:
            pipe.send(error)
            return
        pipe.send(None)
    broker.serve()


if __name__ == "__main__":
    main()
