"""A command on a connection of this process."""

from __future__ import annotations

import select
import time
from collections.abc import Callable

from paramiko import Channel

from jfr_mp.hosts.ssh.interface import BLOCK, AliveSignal, ConnectionBroken, Output, RemoteCommand, TookTooLong
from jfr_mp.hosts.ssh.paramiko_errors import translated

#: Seconds between two checks of whether the host takes more of the input; paramiko cannot wait for that.
_INPUT_PAUSE = 0.01
#: Seconds between two signals that the connection is alive.
_PULSE = 1.0


class ChannelCommandSession:
    """A session for one command, used by one thread.

    Parameters
    ----------
    channel
        The open session.
    ended_by_host
        Whether the host has closed the channel, as opposed to the connection having broken.
    """

    def __init__(self, channel: Channel, ended_by_host: Callable[[], bool]) -> None:
        self._channel = channel
        self._ended_by_host = ended_by_host
        self._stdout, self._stderr = bytearray(), bytearray()

    def run(self, command: RemoteCommand, alive: AliveSignal) -> Output:
        """Run the command to its end."""
        with translated(lambda: not self._channel.closed):
            return self._converse(command, alive)

    def _converse(self, command: RemoteCommand, alive: AliveSignal) -> Output:
        channel = self._channel
        if command.environment:
            channel.update_environment(dict(command.environment))
        channel.exec_command(command.line)
        deadline = time.monotonic() + command.limit
        unsent = memoryview(command.stdin)
        arrivals = select.poll()
        arrivals.register(channel.fileno(), select.POLLIN)
        if not unsent:
            channel.shutdown_write()
        while True:
            alive()
            # Checked before the last of the output is taken, or something could come in between.
            ended = channel.closed or (channel.eof_received and channel.exit_status_ready())
            self._take()
            if ended:
                return self._result()
            left = deadline - time.monotonic()
            if left <= 0:
                raise TookTooLong(bytes(self._stdout))
            if unsent and channel.send_ready():
                unsent = self._send(unsent)
                continue
            pause = min(left, _INPUT_PAUSE if unsent else _PULSE)
            if channel.eof_received:
                channel.status_event.wait(pause)
            else:
                arrivals.poll(1000 * pause)

    def _send(self, unsent: memoryview) -> memoryview:
        """Send a part of the input, and the end of it if that was the last; return the rest."""
        try:
            unsent = unsent[self._channel.send(bytes(unsent[:BLOCK])) :]
        except OSError:
            # The command has ended without reading all of its input.
            if not self._channel.closed:
                raise
        if not unsent:
            self._channel.shutdown_write()
        return unsent

    def _take(self) -> None:
        """Take the output that has arrived."""
        while self._channel.recv_ready():
            self._stdout += self._channel.recv(BLOCK)
        while self._channel.recv_stderr_ready():
            self._stderr += self._channel.recv_stderr(BLOCK)

    def _result(self) -> Output:
        status = self._channel.exit_status
        # The host gives no exit status to a command that was killed by a signal.
        if status < 0 and not self._ended_by_host():
            raise ConnectionBroken("the connection ended before the command did")
        return Output(bytes(self._stdout), bytes(self._stderr), status)
