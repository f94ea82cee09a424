"""What paramiko uses instead of a socket if a host is not reached directly: a gateway's channel, or a ProxyCommand."""

from __future__ import annotations

import socket
import subprocess
from contextlib import suppress
from typing import Any

from paramiko import Channel

#: Seconds for the process to exit after SIGTERM.
_GRACE = 2.0


class Tunnel:
    """A channel through a gateway that can be closed even if the gateway is gone.

    paramiko closes it in a thread of its own, which would die with a traceback if the connection below has broken.

    Parameters
    ----------
    channel
        Leads to the host.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)

    def close(self) -> None:
        """Close the channel."""
        with suppress(OSError, EOFError):
            self._channel.close()


class ProxyProcess:
    """Runs a command on one end of a pair of sockets; `socket` is the other end.

    Unlike paramiko's ProxyCommand it notices when the command exits, and leaves no process behind.

    Parameters
    ----------
    command
        What a shell runs.
    """

    def __init__(self, command: str) -> None:
        self.socket, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", f"exec {command}"],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )

    def close(self) -> None:
        """Stop the command."""
        self.socket.close()
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE)
            return
        self._process.kill()
        self._process.wait()
