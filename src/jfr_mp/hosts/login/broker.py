"""The broker: a process that has logged in to a host once and provides its connection to other processes of the user.

It exits when its connection ends, or when the user closes the login; its clients then learn that a login is needed.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

from jfr_mp.errors import JfrMpError
from jfr_mp.hosts.login import broker_messages as messages
from jfr_mp.hosts.login.broker_socket import is_same_user
from jfr_mp.hosts.login.lender import Lender
from jfr_mp.hosts.login.wire import Wire
from jfr_mp.hosts.ssh.direct_connection import DirectConnection
from jfr_mp.hosts.ssh.interface import ConnectionBroken
from jfr_mp.hosts.ssh.questions import Question
from jfr_mp.hosts.ssh.route import Route
from jfr_mp.hosts.ssh.watchdog import Watchdog

#: Seconds between two probes of whether the host still answers, and how long an answer may take.
_PROBE_INTERVAL, _PROBE_PATIENCE = 15.0, 60.0
#: Seconds until clients are accepted again if that failed, for want of file descriptors for example.
_ACCEPT_PAUSE = 0.5


class Broker:
    """Provides a connection on a Unix socket.

    Parameters
    ----------
    connection
        Logged in.
    path
        Where to listen; a socket of an earlier broker is replaced.
    """

    def __init__(self, connection: DirectConnection, path: Path) -> None:
        self._connection = connection
        self._path = path
        self._listener = socket.socket(socket.AF_UNIX)
        unfinished = path.with_suffix(f".{os.getpid()}")
        self._listener.bind(str(unfinished))
        self._listener.listen()
        unfinished.rename(path)
        self._inode = path.stat().st_ino

    def serve(self) -> None:
        """Yield the connection until it ends."""
        threading.Thread(target=self._accept, daemon=True).start()
        while self._connection.is_alive:
            with Watchdog(self._connection.close, _PROBE_PATIENCE):
                self._connection.probe()
            self._connection.wait_for_end(_PROBE_INTERVAL)
        with suppress(FileNotFoundError):
            # After a new login the socket is that of another broker.
            if self._path.stat().st_ino == self._inode:
                self._path.unlink()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                # Clients wait in the queue of the socket, and the login is too precious to be given up.
                time.sleep(_ACCEPT_PAUSE)
                continue
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with closing(Wire(client)) as wire:
            if is_same_user(client) and self._connection.is_alive:
                Lender(self._connection, wire).serve()


def main() -> None:
    """Log in with the help of the process at the other end of standard input, then serve."""
    with closing(Wire(socket.socket(fileno=0))) as wire:

        def ask(question: Question) -> list[str]:
            wire.send(messages.Asked(question=question))
            return wire.expect(messages.Answers).answers

        try:
            order = wire.expect(messages.LoginOrder)
            try:
                broker = Broker(Route(order.known_hosts, ask).connect(order.endpoint), order.socket)
            except JfrMpError as error:
                wire.send(messages.Refused.by(error))
                return
            wire.send(messages.Granted())
        except ConnectionBroken:
            # The process that wanted the login has exited, and the user with it.
            return
    broker.serve()


if __name__ == "__main__":
    main()
