"""A ProxyCommand: a process whose input and output are the connection to a host."""

from __future__ import annotations

import socket
import subprocess
from contextlib import suppress

#: Seconds for the process to end by itself.
_GRACE = 2.0


class ProxyProcess:
    """Runs a command on one end of a pair of sockets; `socket` is the other end.

    Unlike paramiko's ProxyCommand it notices that the command ends, and leaves no process behind.

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
        """End the command."""
        self.socket.close()
        self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE)
            return
        self._process.kill()
        self._process.wait()
