"""The keys of the bus between machines: one CURVE key pair for each user on each machine.

The secret key stays in a file that only its user can read. The public keys that masters accept are in the database:
see `jfr_mp.database.bus_keys`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import zmq

from jfr_mp.errors import BusError

if TYPE_CHECKING:
    from jfr_mp.config import Project

_LENGTH = 40


@dataclass(frozen=True)
class KeyPair:
    """A CURVE key pair in the text form of ZeroMQ (Z85)."""

    public: str
    secret: str

    def __repr__(self) -> str:
        return f"KeyPair(public={self.public!r})"


def key_path(project: Project) -> Path:
    """Return the file with the secret key of this user; machines with the same daemon_dir share it."""
    return Path(project.daemon_dir).absolute() / "jfr_mp" / "bus.key"


def read_keys(project: Project) -> KeyPair | None:
    """Return the key pair of this user on this machine; None if there is none.

    Raises
    ------
    BusError
        If the file can be read by others, or is damaged.
    """
    path = key_path(project)
    try:
        with path.open(encoding="ascii") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise BusError(f"{path} can be read by other users: make new keys with `jfr-mp bus keys rotate`")
            secret = file.read().strip()
    except FileNotFoundError:
        return None
    if len(secret) != _LENGTH:
        raise BusError(f"{path} is damaged: make new keys with `jfr-mp bus keys rotate`")
    return KeyPair(zmq.curve_public(secret.encode()).decode(), secret)


def make_keys(project: Project) -> KeyPair:
    """Make a key pair and write it in the place of an earlier one."""
    public, secret = zmq.curve_keypair()
    # A key that begins like an option could not be an argument of a command.
    while public.startswith(b"-"):
        public, secret = zmq.curve_keypair()
    path = key_path(project)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name("bus.key.new")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secret)
    unfinished.rename(path)
    return KeyPair(public.decode(), secret.decode())
