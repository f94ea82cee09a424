"""The bus between machines, as a master opens it."""

from __future__ import annotations

import getpass
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from jfr_mp.bus.gate import BusGate
from jfr_mp.bus.herald import Herald, Neighbour
from jfr_mp.bus.keys import KeyPair, make_keys, read_keys
from jfr_mp.database import bus_keys
from jfr_mp.errors import BusError
from jfr_mp.identity import host_name
from jfr_mp.step_table import Role, wake_states

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from jfr_mp.bus.inbox import Inbox
    from jfr_mp.config import Project
    from jfr_mp.database.connection import QueueDatabase
    from jfr_mp.database.processes import ProcessRecord
    from jfr_mp.states import JobState

logger = logging.getLogger(__name__)


def admitted_keys(project: Project, db: QueueDatabase) -> KeyPair:
    """Return the keys of this user on this machine, made and made known to the project if there are none."""
    keys = read_keys(project) or make_keys(project)
    bus_keys.admit(db, keys.public, host_name(), getpass.getuser())
    return keys


@contextmanager
def open_gate(
    project: Project, owner: str, allowed: Callable[[], Collection[str]], news: Inbox[frozenset[JobState]]
) -> Iterator[BusGate | None]:
    """Open the gate of a master while a block runs; yield None if the project has no bus between machines.

    A master that cannot listen, for instance beside another one on the same machine, is commanded through the database.
    See `BusGate` for the parameters.
    """
    address, keys = project.jfr_mp.bus, read_keys(project)
    if address is None or keys is None:
        yield None
        return
    try:
        gate = BusGate(address, keys, owner, allowed, news)
    except BusError as error:
        logger.warning("%s; commands from other machines come through the database", error)
        yield None
        return
    with gate:
        logger.info("listening for other machines at %s", address)
        yield gate


@contextmanager
def open_herald(
    project: Project, elsewhere: Callable[[], Sequence[ProcessRecord]]
) -> Iterator[Callable[[frozenset[JobState]], None]]:
    """Yield what announces states to other machines while a block runs; it does nothing without a bus between machines.

    Parameters
    ----------
    project
        The project.
    elsewhere
        Returns the masters of other machines whose gates can be reached.
    """
    keys = read_keys(project)
    if project.jfr_mp.bus is None or keys is None:
        yield lambda _states: None
        return
    # By then the others know the key of this machine, so that none of them warns of a stranger.
    known = time.monotonic() + 2 * project.jfr_mp.heartbeat_interval

    def neighbours() -> dict[str, Neighbour]:
        return {record.id: _neighbour(record) for record in elsewhere()} if time.monotonic() >= known else {}

    with Herald(keys, neighbours) as herald:
        yield herald.tell


def _neighbour(record: ProcessRecord) -> Neighbour:
    # Another version may have other roles.
    return Neighbour(record.bus, record.bus_key, wake_states(role for role in Role if role in record.roles))
