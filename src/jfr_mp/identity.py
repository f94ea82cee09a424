"""Who a process of ours is, in locks, in the registry and in logs."""

from __future__ import annotations

import os
import secrets
import socket

LOCK_PREFIX = "jfr-mp/"


def new_owner() -> str:
    """Return an identity for this process: ``host:pid:token``; the token tells it from a later one of that pid."""
    return f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"


def new_lock_id(owner: str) -> str:
    """Return the id of a new lock, which names its owner so that anybody can see whose death would free it."""
    return f"{LOCK_PREFIX}{owner}/{secrets.token_hex(6)}"


def owner_of_lock(lock_id: str) -> str | None:
    """Return the process that holds a lock, or None where the lock is not one of ours."""
    if not lock_id.startswith(LOCK_PREFIX):
        return None
    return lock_id.removeprefix(LOCK_PREFIX).rpartition("/")[0]
