"""The herald: tells the masters of other machines which states have new jobs, over the bus between machines.

A wake-up that is lost costs time and nothing else: the changes that the database reports, and searches at intervals,
find the same jobs. So nothing is repeated, and no answer is waited for.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import NamedTuple, Self

import zmq

from jfr_mp.bus.gate import MAX_SIZE
from jfr_mp.bus.keys import KeyPair
from jfr_mp.bus.messages import Announcement, encode
from jfr_mp.states import JobState

logger = logging.getLogger(__name__)

#: Seconds between two announcements, which keeps their number below what a gate reads.
PAUSE = 1.0
#: Milliseconds after which an announcement is dropped that its receiver has not taken.
_LINGER = 2000


class Neighbour(NamedTuple):
    """The gate of a master on another machine.

    Parameters
    ----------
    address, key
        Where it listens, and its public key.
    states
        The states from which its role processes take jobs.
    """

    address: str
    key: str
    states: frozenset[JobState]


class Herald:
    """A context manager: within it, what is told reaches the neighbours.

    The first announcement is sent at once, and what follows within a second is sent together.

    Parameters
    ----------
    keys
        The keys of this machine.
    neighbours
        Returns the masters of other machines that have a gate now, by their owner ids.
    """

    def __init__(self, keys: KeyPair, neighbours: Callable[[], Mapping[str, Neighbour]]) -> None:
        self._keys = keys
        self._neighbours = neighbours
        self._told: set[JobState] = set()
        self._lock = threading.Lock()
        self._due = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="herald", daemon=True)

    def tell(self, states: frozenset[JobState]) -> None:
        """Have the neighbours told that there are new jobs in some states; does not wait."""
        if states:
            with self._lock:
                self._told |= states
            self._due.set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._due.set()
        self._thread.join()

    # In the thread

    def _run(self) -> None:
        with zmq.Context() as context:
            while not self._closing.is_set():
                self._due.wait()
                self._due.clear()
                with self._lock:
                    states, self._told = frozenset(self._told), set()
                for owner, neighbour in self._neighbours().items():
                    if wanted := states & neighbour.states:
                        self._announce(context, neighbour, Announcement(master=owner, states=list(wanted)))
                self._closing.wait(PAUSE)

    def _announce(
        self, context: zmq.Context[zmq.Socket[bytes]], neighbour: Neighbour, announcement: Announcement
    ) -> None:
        # One connection for each: it is given up for good if the gate does not know the key, perhaps not yet.
        with context.socket(zmq.DEALER) as client:
            client.linger = _LINGER
            client.setsockopt(zmq.MAXMSGSIZE, MAX_SIZE)
            try:
                client.curve_serverkey = neighbour.key.encode()
                client.curve_secretkey, client.curve_publickey = self._keys.secret.encode(), self._keys.public.encode()
                client.connect(neighbour.address)
                client.send(encode(announcement), zmq.NOBLOCK)
            except zmq.ZMQError as error:  # a damaged record
                logger.debug("%s cannot be told anything: %s", neighbour.address, error)
