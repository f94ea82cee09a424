"""What is refused before any page is asked: other hosts, floods, large bodies; and the headers of every answer."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: The largest body of a request in bytes; forms have a few hundred.
MOST_BODY = 65_536
#: Requests of one address or login: so many at once, and so many per second.
BURST, RATE = 120.0, 40.0
#: The same for all strangers together, and for all logins: neither can use up the share of the other.
STRANGERS, LOGINS = (240.0, 80.0), (480.0, 160.0)
#: Addresses or logins that are remembered.
_SENDERS = 1_000
#: The item of a request's scope that tells the connection that the request is of a user who is logged in.
IS_LOGGED_IN = "jfr_mp.is_logged_in"

HEADERS = {
    "Content-Security-Policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self'",
            "connect-src 'self'",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
        )
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # With no-referrer, browsers would send the origin "null" with the forms of this server.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class RateLimit:
    """Counts what a sender does: a bucket that is filled again at a constant rate.

    Parameters
    ----------
    burst
        What the bucket holds.
    rate
        What is added per second.
    """

    def __init__(self, burst: float, rate: float) -> None:
        self._burst = burst
        self._rate = rate
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allows(self, sender: str) -> bool:
        """Take one from the bucket of an address or a login, and return whether there was one."""
        now = time.monotonic()
        left, then = self._buckets.pop(sender, (self._burst, now))
        left = min(self._burst, left + (now - then) * self._rate)
        self._buckets[sender] = (max(left - 1.0, 0.0), now)
        if len(self._buckets) > _SENDERS:
            self._buckets.popitem(last=False)
        return left >= 1.0


@dataclass(frozen=True)
class SharedLimit:
    """Limits what each sender does, and what all of them do together, however many they are.

    Parameters
    ----------
    each, together
        The limits.
    """

    each: RateLimit
    together: RateLimit

    def allows(self, sender: str) -> bool:
        """Return whether a sender may go on; what it may not takes nothing from the others."""
        return self.each.allows(sender) and self.together.allows("")


class Gate:
    """The outermost layer of the application.

    Parameters
    ----------
    app
        The application.
    hosts
        The values of the header Host that are served; others come from pages that point their own name at this machine.
    login_of
        Returns what identifies the login that a request belongs to; None for a stranger.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str], login_of: Callable[[Scope], str | None]) -> None:
        self._app = app
        self._hosts = {host.lower() for host in hosts}
        self._login_of = login_of
        self._strangers = SharedLimit(RateLimit(BURST, RATE), RateLimit(*STRANGERS))
        self._logins = SharedLimit(RateLimit(BURST, RATE), RateLimit(*LOGINS))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
                if "cache-control" not in headers:
                    headers["Cache-Control"] = "no-store"
            await send(message)

        refusal = self._refusal(scope)
        await (refusal or self._app)(scope, receive if refusal else _Limited(receive), send_with_headers)

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "").lower()
        if host not in self._hosts:
            return PlainTextResponse("This server does not serve this host name; see --allow-host.", 421)
        if not self._may_go_on(scope):
            return PlainTextResponse("Too many requests; try again in a second.", 429, {"Retry-After": "1"})
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > MOST_BODY:
            return PlainTextResponse("The body of the request is too large.", 413)
        if scope["method"] not in ("GET", "HEAD") and not _is_same_origin(headers, host):
            return PlainTextResponse("This request comes from another site.", 403)
        return None

    def _may_go_on(self, scope: Scope) -> bool:
        login = self._login_of(scope)
        scope[IS_LOGGED_IN] = login is not None
        if login is not None:
            return self._logins.allows(login)
        return self._strangers.allows((scope.get("client") or ("", 0))[0])


class TooMuch(Exception):
    """A body without a length is too large."""


class _Limited:
    """Receives a body up to the limit."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._received = 0

    async def __call__(self) -> Message:
        message = await self._receive()
        self._received += len(message.get("body", b""))
        if self._received > MOST_BODY:
            raise TooMuch
        return message


def _is_same_origin(headers: Headers, host: str) -> bool:
    """Return whether a browser says that a page of this server has sent the request, or says nothing."""
    origin = headers.get("origin")
    site = headers.get("sec-fetch-site", "same-origin")
    return site in ("same-origin", "none") and (origin is None or origin.partition("://")[2].lower() == host)
