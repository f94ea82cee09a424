"""Where a login broker listens: a Unix socket that only its user can reach."""

from __future__ import annotations

import hashlib
import os
import socket
import stat
import struct
from pathlib import Path

from jfr_mp.errors import HostError
from jfr_mp.hosts.ssh.endpoint import Endpoint

#: The address of a Unix socket has room for 103 bytes. Not `tempfile.gettempdir()`: TMPDIR differs between shells.
_SHORT_PARENT = Path("/tmp")
_CREDENTIALS = struct.Struct("3i")


def broker_dir(base_dir: Path) -> Path:
    """Return the directory with the sockets of a project's brokers on this machine, whether it exists or not."""
    place = f"{base_dir.absolute()}\0{socket.gethostname()}"
    return _SHORT_PARENT / f"jfr-mp-{os.getuid()}-{_digest(place)}"


def broker_socket(endpoint: Endpoint, base_dir: Path) -> Path:
    """Return the socket of a project's broker for an endpoint, whether it exists or not."""
    way = []
    hop: Endpoint | None = endpoint
    while hop:
        way.append(f"{hop} {hop.proxy_command}")
        hop = hop.gateway
    return broker_dir(base_dir) / f"{_digest(chr(0).join(way))}.sock"


def make_private(directory: Path) -> None:
    """Make a directory for this user alone, or check that it is one: every user can write to /tmp.

    Raises
    ------
    HostError
        Something else is in its place.
    """
    directory.mkdir(mode=0o700, exist_ok=True)
    status = directory.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise HostError(f"{directory} is not a directory that only you can use: remove it, or have it removed")


def is_same_user(opened: socket.socket) -> bool:
    """Whether a process of the same user is at the other end of a Unix socket."""
    _pid, uid, _gid = _CREDENTIALS.unpack(opened.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return bool(uid == os.getuid())


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
