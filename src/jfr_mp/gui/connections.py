"""HTTP connections that do not wait for ever for what a client wants."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    from typing import Any

#: Seconds within which the headers of a request have to arrive.
MOST_HEADERS = 5.0


class PatientConnection(H11Protocol):
    """Closes if a request does not arrive completely; uvicorn's own limit begins behind the first answer."""

    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._deadline = self.loop.call_later(MOST_HEADERS, self._give_up)

    def data_received(self, data: bytes) -> None:
        """Stop waiting if a request is complete."""
        super().data_received(data)
        if self._is_busy:
            self._stop_waiting()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(MOST_HEADERS, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_waiting()
        super().connection_lost(exc)

    @property
    def _is_busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        if not self._is_busy:
            self.transport.close()
