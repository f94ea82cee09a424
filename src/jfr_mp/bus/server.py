"""The server of the bus, in the master."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import zmq

from jfr_mp.bus.messages import STATES, BusMessage, Message, Rejection, Wake, decode, encode, topic
from jfr_mp.bus.paths import RunDir
from jfr_mp.errors import BusError
from jfr_mp.states import JobState

logger = logging.getLogger(__name__)

#: Events forwarded in one turn: a burst of them must not delay the signals of the master.
_EVENTS_A_TURN = 1000
#: The maximum size of a message in bytes; the connection of a sender of a larger one is closed.
MAX_MESSAGE = 2**20
#: The maximum number of characters of a reason for rejecting a message, and seconds between two warnings of it.
_LONGEST_REASON, _WARN_EVERY = 500, 10.0


@dataclass(frozen=True)
class Letter:
    """A message with the address of its sender, for the reply."""

    sender: bytes
    message: Message


class BusServer:
    """The sockets of a master: it answers on the control channel and forwards on the event channel.

    One thread uses it. `wait` is the one call in which that thread blocks, so it also waits for other files (`watch`).

    Parameters
    ----------
    run_dir
        The directory of the sockets, which must exist.
    """

    def __init__(self, run_dir: RunDir) -> None:
        self._run_dir = run_dir
        self._context = zmq.Context()
        self._control = self._context.socket(zmq.ROUTER)
        self._events_in = self._context.socket(zmq.XSUB)
        self._events_out = self._context.socket(zmq.XPUB)
        self._poller = zmq.Poller()
        self._next_warning = 0.0
        self._deleted_since: float | None = None
        self._published: set[JobState] = set()
        try:
            for bus_socket in self._sockets:
                bus_socket.linger = 200
                bus_socket.setsockopt(zmq.MAXMSGSIZE, MAX_MESSAGE)
                self._poller.register(bus_socket, zmq.POLLIN)
            # All events: other machines may want some to which no process here subscribes.
            self._events_in.send(b"\x01")
            self._bind()
        except BusError:
            self.close()
            raise

    @property
    def _sockets(self) -> tuple[zmq.Socket[bytes], ...]:
        return (self._control, self._events_in, self._events_out)

    def _bind(self) -> None:
        """Listen at each address that has no socket; connections from an earlier one stay."""
        addresses = (self._run_dir.control, self._run_dir.events_in, self._run_dir.events_out)
        for bus_socket, address in zip(self._sockets, addresses, strict=True):
            if Path(address.removeprefix("ipc://")).exists():
                continue
            try:
                bus_socket.bind(address)
            except zmq.ZMQError as error:
                raise BusError(f"cannot open the bus in {self._run_dir.path}: {error}") from error

    def keep_open(self, now: float) -> float:
        """Make the directory and the sockets again if they were deleted.

        Parameters
        ----------
        now
            Monotonic time in seconds.

        Returns
        -------
        float
            The seconds for which they could not be made.
        """
        if self._run_dir.is_complete:
            return 0.0
        try:
            self._run_dir.restore()
            self._bind()
        except BusError as error:
            if self._deleted_since is None:
                self._deleted_since = now
                logger.error("%s was deleted, so that no command reaches this master: %s", self._run_dir.path, error)
            return now - self._deleted_since
        logger.warning("%s was deleted and has been made again", self._run_dir.path)
        self._deleted_since = None
        return 0.0

    def wait(self, timeout: float, *files: int) -> None:
        """Block until something arrives or one of the file descriptors is readable, for `timeout` seconds at most."""
        for file in files:
            self._poller.register(file, zmq.POLLIN)
        self._poller.poll(math.ceil(max(0.0, timeout) * 1000))
        for file in files:
            self._poller.unregister(file)

    def receive(self) -> Iterator[Letter]:
        """Yield the control messages that have arrived, and forward the events."""
        for subscription, *_ in self._forward(self._events_in, self._events_out):
            if (state := STATES.get(subscription)) is not None:
                self._published.add(state)
        for _ in self._forward(self._events_out, self._events_in):
            pass
        while True:
            try:
                sender, *frames = self._control.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                yield Letter(sender, decode(frames[-1] if frames else b""))
            except BusError as error:
                why = str(error)[:_LONGEST_REASON]
                if (now := time.monotonic()) >= self._next_warning:
                    self._next_warning = now + _WARN_EVERY
                    logger.warning("%s", why)
                self.send(sender, Rejection(why=why))

    def send(self, receiver: bytes, message: BusMessage) -> None:
        """Send a message; it is dropped if the receiver is gone."""
        self._control.send_multipart([receiver, encode(message)], zmq.NOBLOCK)

    def publish(self, states: Iterable[JobState]) -> None:
        """Inform the role processes of new jobs in some states."""
        for state in states:
            with suppress(zmq.Again):
                self._events_out.send_multipart([topic(state), encode(Wake(state=state))], zmq.NOBLOCK)

    def take_published(self) -> frozenset[JobState]:
        """Return the states that role processes have told each other about since the last call."""
        published = frozenset(self._published)
        self._published.clear()
        return published

    @staticmethod
    def _forward(source: zmq.Socket[bytes], target: zmq.Socket[bytes]) -> Iterator[list[bytes]]:
        for _ in range(_EVENTS_A_TURN):
            try:
                frames = source.recv_multipart(zmq.NOBLOCK)
                target.send_multipart(frames, zmq.NOBLOCK)
            except zmq.Again:
                return
            yield frames

    def close(self) -> None:
        """Close the sockets; their files are removed with the run directory."""
        for bus_socket in self._sockets:
            bus_socket.close()
        self._context.term()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
