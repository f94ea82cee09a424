"""HTTP connections that do not wait for ever for what a client wants."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from uvicorn.protocols.http.h11_impl import H11Protocol

from jfr_mp.gui.security import IS_LOGGED_IN

if TYPE_CHECKING:
    from typing import Any

#: Connections that are served at once; each open page holds one.
MOST_CONNECTIONS = 256
#: Those of them that strangers cannot occupy: a new connection beyond them takes the place of the oldest of a stranger.
_RESERVED = 64

#: Seconds within which the headers of a request have to arrive.
MOST_HEADERS = 5.0


class PatientConnection(H11Protocol):
    """Closes if a request does not arrive completely; uvicorn's own limit begins behind the first answer.

    Attributes
    ----------
    made
        When it was made, by the monotonic clock.
    """

    _deadline: asyncio.TimerHandle | None = None
    made = 0.0

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self.made = time.monotonic()
        self._make_room()
        self._deadline = self.loop.call_later(MOST_HEADERS, self._give_up)

    def data_received(self, data: bytes) -> None:
        """Stop waiting if a request is complete."""
        super().data_received(data)
        if self.is_busy:
            self._stop_waiting()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(MOST_HEADERS, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _make_room(self) -> None:
        """Close the connection of a stranger if there are many; a user's new one counts as that until it has asked."""
        if len(self.connections) <= MOST_CONNECTIONS - _RESERVED:
            return
        others = [each for each in self.connections if isinstance(each, PatientConnection) and each is not self]
        strangers = [each for each in others if not each.is_of_user and not each.transport.is_closing()]
        if strangers:
            oldest = min(strangers, key=lambda each: (each.is_busy, each.made))
            # Over TLS, or with a client that reads nothing, a connection that is only closed lasts on.
            is_at_once = oldest.scheme == "http" and not oldest.transport.get_write_buffer_size()
            (oldest.transport.close if is_at_once else oldest.transport.abort)()

    @property
    def is_of_user(self) -> bool:
        """Whether its last request was of a user who is logged in."""
        return bool(self.scope and self.scope.get(IS_LOGGED_IN))

    @property
    def is_busy(self) -> bool:
        """Whether a request is being answered."""
        return self.cycle is not None and not self.cycle.response_complete

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        if not self.is_busy:
            self.transport.close()
