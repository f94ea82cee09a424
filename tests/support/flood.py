"""Many requests a second to a web server of this machine, from one address or from many."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

#: Seconds to wait for an answer.
_PATIENCE = 30.0


@dataclass
class Flooded:
    """What has become of a flood.

    Parameters
    ----------
    answers
        The number of answers by their status; 0 for connections that the server closed without one.
    seconds
        How long the flood took.
    delays
        The seconds until each answer was complete, for those that were not refused and for those that were.
    """

    answers: Counter[int] = field(default_factory=Counter)
    seconds: float = 0.0
    delays: dict[bool, list[float]] = field(default_factory=lambda: {True: [], False: []})

    @property
    def total(self) -> int:
        """The number of requests."""
        return sum(self.answers.values())

    def delay(self, part: float, *, served: bool) -> float:
        """Return the delay in seconds that this part of the answers has not exceeded; 0 without answers."""
        found = sorted(self.delays[served])
        return found[min(int(part * len(found)), len(found) - 1)] if found else 0.0


@dataclass(frozen=True)
class Flood:
    """A flood of requests.

    Parameters
    ----------
    port
        The port of the server on 127.0.0.1.
    paths
        What is asked for, in turn.
    number
        The number of requests.
    addresses
        The addresses of the clients, in 127.0.0.0/8; more connections than addresses share them.
    connections
        How many connections ask at the same time.
    rate
        Requests per second of all connections together; None for as many as the server answers.
    cookie
        The value of the header Cookie; empty for strangers.
    """

    port: int
    paths: Sequence[str]
    number: int
    addresses: Sequence[str] = ("127.0.0.1",)
    connections: int = 20
    rate: float | None = None
    cookie: str = ""

    def run(self) -> Flooded:
        """Send all requests and return what has become of them."""
        return asyncio.run(self._run())

    async def _run(self) -> Flooded:
        done, begin = Flooded(), time.monotonic()
        await asyncio.gather(*(self._client(client, done, begin) for client in range(self.connections)))
        done.seconds = time.monotonic() - begin
        return done

    async def _client(self, client: int, done: Flooded, begin: float) -> None:
        """Send every request whose number leads to this client."""
        address = self.addresses[client % len(self.addresses)]
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        for number in range(client, self.number, self.connections):
            if self.rate is not None:
                await asyncio.sleep(max(0.0, begin + number / self.rate - time.monotonic()))
            then, status, kept = time.monotonic(), 0, None
            with suppress(OSError, asyncio.IncompleteReadError):
                streams = streams or await asyncio.open_connection("127.0.0.1", self.port, local_addr=(address, 0))
                status, stays = await asyncio.wait_for(self._ask(*streams, number), _PATIENCE)
                if stays and not streams[0].at_eof():
                    kept = streams
            if streams is not None and kept is None:
                streams[1].close()
            streams = kept
            done.answers[status] += 1
            if status:
                done.delays[status not in (429, 503)].append(time.monotonic() - then)
        if streams:
            streams[1].close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> tuple[int, bool]:
        """Send a request and return the status of the answer, and whether the connection stays."""
        cookie = f"Cookie: {self.cookie}\r\n" if self.cookie else ""
        path = self.paths[number % len(self.paths)]
        writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n{cookie}\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = head.partition("content-length: ")[2].partition("\r\n")[0]
        if length:
            await reader.readexactly(int(length))
        elif "transfer-encoding: chunked" in head:
            await reader.readuntil(b"0\r\n\r\n")
        return int(head.split(" ", 2)[1]), "connection: close" not in head
