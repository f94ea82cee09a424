"""The circuit breaker of a host.

When a host becomes unreachable, the process does not try to use it for a while, longer after each failed attempt. Then
a single attempt decides. Meanwhile its jobs keep their states and spend no attempts.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta

from jfr_mp.model import Outage, utcnow

#: Seconds before the next attempt: doubled each time, up to the second value.
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 300.0


class CircuitBreaker:
    """The breaker of one host; the lanes of the host share it.

    Parameters
    ----------
    host
        The name of the host in `jfr-mp status`.
    clock
        Monotonic time in seconds.
    """

    def __init__(self, host: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.host = host
        self._clock = clock
        self._lock = threading.Lock()
        self._outage: Outage | None = None
        self._failures = 0
        self._closed_until = 0.0

    @property
    def outage(self) -> Outage | None:
        """The current outage of the host, or None if the host is reachable."""
        return self._outage

    def pause(self) -> float:
        """Return the seconds to wait before the host may be tried; 0 allows the caller to try now.

        While the host is unreachable, one caller at a time may try; the others wait for the result.
        """
        with self._lock:
            if self._outage is None:
                return 0.0
            left = self._closed_until - self._clock()
            if left > 0:
                return left
            self._closed_until = self._clock() + FIRST_PAUSE
            return 0.0

    def skipped(self) -> None:
        """Record that the caller that was allowed to try had nothing to do on the host: the next caller may try."""
        with self._lock:
            self._closed_until = self._clock()

    def failed(self, why: str, *, wants_login: bool = False) -> bool:
        """Record that the host is unreachable; return whether it was reachable before.

        Parameters
        ----------
        why
            The reason.
        wants_login
            Whether the user has to log in. Checking for the login is cheap, so the pause stays short.
        """
        with self._lock:
            longest = FIRST_PAUSE if wants_login else LONGEST_PAUSE
            # The exponent is bounded because the number of failures is not.
            pause = min(longest, FIRST_PAUSE * 2 ** min(self._failures, 16))
            now = utcnow()
            since = self._outage.since if self._outage else now
            news = self._outage is None
            self._failures += 1
            self._closed_until = self._clock() + pause
            next_try = now + timedelta(seconds=pause)
            self._outage = Outage(host=self.host, since=since, why=why, next_try=next_try, wants_login=wants_login)
            return news

    def worked(self) -> bool:
        """Record that the host answered; return whether it was unreachable before."""
        with self._lock:
            news = self._outage is not None
            self._outage = None
            self._failures = 0
            return news
