"""The bus between machines, as a master opens it."""

from __future__ import annotations

import getpass
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from jfr_mp.bus.gate import BusGate
from jfr_mp.bus.keys import KeyPair, make_keys, read_keys
from jfr_mp.database import bus_keys
from jfr_mp.errors import BusError
from jfr_mp.identity import host_name

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from jfr_mp.config import Project
    from jfr_mp.database.connection import QueueDatabase

logger = logging.getLogger(__name__)


def admitted_keys(project: Project, db: QueueDatabase) -> KeyPair:
    """Return the keys of this user on this machine, made and made known to the project if there are none."""
    keys = read_keys(project) or make_keys(project)
    bus_keys.admit(db, keys.public, host_name(), getpass.getuser())
    return keys


@contextmanager
def open_gate(project: Project, owner: str, allowed: Callable[[], Collection[str]]) -> Iterator[BusGate | None]:
    """Open the gate of a master while a block runs; yield None if the project has no bus between machines.

    A master that cannot listen, for instance beside another one on the same machine, is commanded through the database.
    """
    address, keys = project.jfr_mp.bus, read_keys(project)
    if address is None or keys is None:
        yield None
        return
    try:
        gate = BusGate(address, keys, owner, allowed)
    except BusError as error:
        logger.warning("%s; commands from other machines come through the database", error)
        yield None
        return
    with gate:
        logger.info("listening for commands of other machines at %s", address)
        yield gate
