"""The gate: the one socket of a master that other machines can reach, for commands and wake-ups.

It speaks CURVE, so that nothing can be read, changed or replayed on the way, and admits the holders of keys that the
project knows. A thread of its own serves it, and no message from outside reaches the loop of the master before it was
checked. Size, rate and the number of commands under way are limited, and so is what is logged.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, Self

import zmq
from zmq.auth.thread import ThreadAuthenticator

from jfr_mp.bus.inbox import Inbox
from jfr_mp.bus.keys import KeyPair
from jfr_mp.bus.messages import Announcement, BusMessage, CommandReply, CommandRequest, Rejection, decode, encode
from jfr_mp.errors import BusError
from jfr_mp.states import JobState

logger = logging.getLogger(__name__)

#: The maximum size of a message in bytes; the connection of a sender of a larger one is closed.
MAX_SIZE = 2**16
#: Messages that are read in a second; others wait at their sender.
RATE = 20.0
#: Messages that wait to be read, for each connection, and commands that wait for the master.
_QUEUE = 50
#: Milliseconds for the handshake of a connection.
_HANDSHAKE = 5000
#: Seconds between two warnings of one kind.
_WARN_EVERY = 600.0
_GLANCE = 0.1


@dataclass(frozen=True)
class GateCommand:
    """A command that came through the gate, with the address of its sender."""

    id: str
    name: str
    arguments: dict[str, Any]
    sender: bytes


class BusGate:
    """A context manager: within it, the gate of a master is open.

    Parameters
    ----------
    address
        Where it listens, such as ``tcp://0.0.0.0:5671``.
    keys
        The keys of this machine.
    owner
        The owner id of the master: a command that names another master is rejected.
    allowed
        Returns the public keys that are admitted now.
    news
        Where the states go that other machines announce.

    Attributes
    ----------
    commands
        The commands that have come.
    """

    def __init__(
        self,
        address: str,
        keys: KeyPair,
        owner: str,
        allowed: Callable[[], Collection[str]],
        news: Inbox[frozenset[JobState]],
    ) -> None:
        self._owner = owner
        self._allowed = allowed
        self._news = news
        self._context = zmq.Context()
        # Its own log has an entry for each connection.
        quiet = logging.Logger("zmq.auth", logging.CRITICAL + 1)
        self._authenticator = ThreadAuthenticator(self._context, log=quiet)
        self._socket = self._context.socket(zmq.ROUTER)
        self.commands: Inbox[GateCommand] = Inbox()
        self._replies: deque[tuple[bytes, CommandReply]] = deque()
        self._closing = threading.Event()
        self._tokens, self._refilled = RATE, time.monotonic()
        self._warned: dict[str, float] = {}
        self._last_key = ""
        self._thread = threading.Thread(target=self._serve, name="gate", daemon=True)
        self._open(address, keys)

    def _open(self, address: str, keys: KeyPair) -> None:
        self._authenticator.start()
        self._authenticator.configure_curve_callback(domain="*", credentials_provider=self)
        for option, value in (
            (zmq.LINGER, 200),
            (zmq.MAXMSGSIZE, MAX_SIZE),
            (zmq.RCVHWM, _QUEUE),
            (zmq.SNDHWM, _QUEUE),
            (zmq.HANDSHAKE_IVL, _HANDSHAKE),
            (zmq.CURVE_SERVER, 1),
        ):
            self._socket.setsockopt(option, value)
        self._socket.curve_secretkey, self._socket.curve_publickey = keys.secret.encode(), keys.public.encode()
        try:
            self._socket.bind(address)
        except zmq.ZMQError as error:
            self._close()
            raise BusError(f"the bus cannot listen at {address}: {error}") from error

    def callback(self, _domain: str, key: bytes) -> bool:
        """Return whether a client with this public key is admitted; the authenticator asks it for each connection."""
        admitted = key.decode(errors="replace") in self._allowed()
        if not admitted:
            self._warn("key", "a connection to the bus was refused, because its key is not one of the project")
        return admitted

    def answer(self, order: GateCommand, reply: CommandReply) -> None:
        """Have the reply to one of them sent; does not wait."""
        self._replies.append((order.sender, reply))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._thread.join()
        self._close()

    def _close(self) -> None:
        self._socket.close()
        self._authenticator.stop()
        self._context.term()
        self.commands.close()

    # In the thread

    def _serve(self) -> None:
        while not self._closing.is_set():
            self._send_replies()
            self._refill()
            if self._tokens < 1:
                # Not read, the messages wait at their sender: the queue of each connection is short.
                self._warn(
                    "rate",
                    f"more than {RATE:g} messages a second come on the bus between machines, now with the key "
                    f"{self._last_key}, and wait: see `jfr-mp bus keys list`, and revoke it if you do not know it",
                )
                self._closing.wait(_GLANCE)
            elif self._socket.poll(int(_GLANCE * 1000)):
                self._tokens -= 1
                self._take()
        self._send_replies()

    def _refill(self) -> None:
        now = time.monotonic()
        self._tokens = min(RATE, self._tokens + (now - self._refilled) * RATE)
        self._refilled = now

    def _send_replies(self) -> None:
        while self._replies:
            self._send(*self._replies.popleft())

    def _take(self) -> None:
        sender, *frames = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
        if not frames:
            return
        key = str(frames[-1].get("User-Id"))
        if key not in self._allowed():
            # The key was revoked while the connection was open.
            self._warn("revoked", "messages on the bus were refused, because their key was revoked")
            return
        self._last_key = key
        try:
            request = decode(frames[-1].bytes)
        except BusError:
            self._warn("malformed", "malformed messages came on the bus between machines, and were refused")
            self._send(sender.bytes, Rejection(why="the message was not understood"))
            return
        match request:
            case Announcement(master=self._owner, states=states):
                self._news.put(frozenset(states))
            case CommandRequest(master=self._owner) if len(self.commands) >= _QUEUE:
                self._send(sender.bytes, Rejection(why="too many commands are waiting"))
            case CommandRequest(id=id_, master=self._owner, name=name, arguments=arguments):
                self.commands.put(GateCommand(id_, name, dict(arguments), sender.bytes))
            case _:
                self._send(sender.bytes, Rejection(why="it is for another master, or no command"))

    def _send(self, receiver: bytes, message: BusMessage) -> None:
        try:
            self._socket.send_multipart([receiver, encode(message)], zmq.NOBLOCK)
        except zmq.ZMQError as error:
            logger.debug("a reply was dropped: %s", error)

    def _warn(self, kind: str, text: str) -> None:
        now = time.monotonic()
        if now - self._warned.get(kind, -_WARN_EVERY) >= _WARN_EVERY:
            self._warned[kind] = now
            logger.warning("%s", text)


def command_through_gate(
    address: str, server_key: str, keys: KeyPair, request: CommandRequest, timeout: float
) -> CommandReply:
    """Send a command to the gate of a master on another machine and return its reply.

    Raises
    ------
    BusError
        If it does not answer, or rejects the message.
    """
    with zmq.Context() as context, context.socket(zmq.DEALER) as client:
        client.linger = 0
        client.setsockopt(zmq.MAXMSGSIZE, MAX_SIZE)
        client.curve_serverkey = server_key.encode()
        client.curve_secretkey, client.curve_publickey = keys.secret.encode(), keys.public.encode()
        client.connect(address)
        client.send(encode(request))
        if not client.poll(int(timeout * 1000)):
            raise BusError(f"the master at {address} did not answer within {timeout:g} s")
        reply = decode(client.recv_multipart()[-1])
    if not isinstance(reply, CommandReply):
        raise BusError(f"the master at {address} rejected the command: {getattr(reply, 'why', reply.kind)}")
    return reply
