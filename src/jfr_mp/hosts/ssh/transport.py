"""paramiko's transport, with two corrections: who closes a channel, and which host keys are asked for."""

from __future__ import annotations

import threading
from collections.abc import Collection
from contextlib import suppress
from typing import Any
from weakref import WeakSet

from paramiko import Channel, Message, Transport
from paramiko.common import MSG_CHANNEL_CLOSE, cMSG_CHANNEL_CLOSE
from paramiko.ssh_exception import SSHException

_CERTIFICATE = "-cert-v01@openssh.com"
#: Its private names, which the types of paramiko leave out.
_transport_class: Any = Transport


class OrderlyTransport(Transport):
    """A transport that survives many short sessions, and that asks for the host keys that can be verified.

    paramiko answers the CLOSE message of a channel at once, from its own thread, and takes the channel's lock to build
    a message but not to send it. If a command ends while another thread is about to send it the end of its input, that
    message follows the CLOSE; an OpenSSH server then breaks the whole connection ("ieof packet referred to nonexistent
    channel"). Here the thread that owns a channel, the only one that sends on it, sends the CLOSE as well.
    """

    def __init__(self, sock: Any, **options: Any) -> None:
        super().__init__(sock, **options)
        # paramiko looks up what to do with a message of a channel here; there is no public way to change it.
        self._channel_handler_table = {
            **_transport_class._channel_handler_table,  # noqa: SLF001 - paramiko offers no other way
            MSG_CHANNEL_CLOSE: self._handle_channel_close,
        }
        self._closing = threading.Lock()
        self._owned: WeakSet[Channel] = WeakSet()
        self._closed_by_host: WeakSet[Channel] = WeakSet()
        self._known_types: Collection[str] = ()
        self._accepts_certificates = False

    def ask_for_keys(self, known_types: Collection[str], *, certificates: bool) -> None:
        """Choose the host keys to ask for; call it before the connection starts.

        Parameters
        ----------
        known_types
            The types of key that are known of the host, which go first.
        certificates
            Whether the host may present a certificate, which then goes before any key.
        """
        self._known_types = known_types
        self._accepts_certificates = certificates

    @property
    def preferred_keys(self) -> tuple[str, ...]:
        """The algorithms of host keys in the order of preference."""
        offered = super().preferred_keys
        plain = [name for name in offered if not name.endswith(_CERTIFICATE)]
        plain.sort(key=lambda name: _key_type(name) not in self._known_types)
        certificates = [f"{name}{_CERTIFICATE}" for name in plain if f"{name}{_CERTIFICATE}" in offered]
        return (*certificates, *plain) if self._accepts_certificates else tuple(plain)

    def open_owned_session(self) -> Channel:
        """Open a session on which one thread sends, which has to end it by `finish`."""
        channel = self.open_session()
        self._owned.add(channel)
        return channel

    def was_closed_by_host(self, channel: Channel) -> bool:
        """Whether the host has closed an owned channel, as opposed to the connection having broken."""
        with self._closing:
            return channel in self._closed_by_host

    def finish(self, channel: Channel) -> None:
        """Close an owned channel, unless the connection has broken."""
        with self._closing:
            # From here on a CLOSE of the host may be answered at once, for nothing else will be sent.
            self._owned.discard(channel)
            is_answer = channel in self._closed_by_host
            self._closed_by_host.discard(channel)
        with suppress(OSError, EOFError, SSHException):
            if is_answer:
                answer = Message()
                answer.add_byte(cMSG_CHANNEL_CLOSE)
                answer.add_int(channel.remote_chanid)
                transport: Any = self
                transport._send_user_message(answer)  # noqa: SLF001 - paramiko offers no other way
            channel.close()

    def _handle_channel_close(self, channel: Any, message: Message) -> None:
        """Take note that the host has closed an owned channel; its owner answers."""
        with self._closing:
            if channel in self._owned and not channel.closed:
                channel._unlink()  # noqa: SLF001 - paramiko offers no other way
                self._closed_by_host.add(channel)
                return
        channel._handle_close(message)  # noqa: SLF001 - paramiko offers no other way


def _key_type(algorithm: str) -> str:
    """Return the type of key that known_hosts has for an algorithm."""
    return "ssh-rsa" if algorithm.startswith("rsa-sha2-") else algorithm
