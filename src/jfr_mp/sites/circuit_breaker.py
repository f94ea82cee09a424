"""Whether a host can be worked with: a circuit breaker.

After a failure that is the host's own, nobody tries it for a while, longer each time; then one try decides. Its jobs
stay where they are and spend no attempts.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta

from jfr_mp.model import Outage, utcnow

#: Seconds to the second try, doubled with each further one, up to the second figure.
FIRST_PAUSE, LONGEST_PAUSE = 2.0, 300.0


class CircuitBreaker:
    """The breaker of one host; the lanes of the host share it.

    Parameters
    ----------
    host
        The host, as status shows it.
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
        """What is wrong with the host, or None."""
        return self._outage

    def pause(self) -> float:
        """Return the seconds for which the host is to be left alone; 0 lets the caller try.

        While the host is away one caller at a time is let through; the others wait for what it finds.
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
        """Note that the caller who was let through had nothing to do there: the next one may try."""
        with self._lock:
            self._closed_until = self._clock()

    def failed(self, why: str, *, wants_login: bool = False) -> bool:
        """Note that the host could not be worked with; tell whether that is news.

        Parameters
        ----------
        why
            What was found.
        wants_login
            A person has to log in. Asking whether somebody has costs nothing, so that the pause stays short.
        """
        with self._lock:
            longest = FIRST_PAUSE if wants_login else LONGEST_PAUSE
            # The exponent is bounded because a host may be away for any time.
            pause = min(longest, FIRST_PAUSE * 2 ** min(self._failures, 16))
            now = utcnow()
            since = self._outage.since if self._outage else now
            news = self._outage is None
            self._failures += 1
            self._closed_until = self._clock() + pause
            self._outage = Outage(host=self.host, since=since, why=why, next_try=now + timedelta(seconds=pause))
            return news

    def worked(self) -> bool:
        """Note that the host answered; tell whether that is news."""
        with self._lock:
            news = self._outage is not None
            self._outage = None
            self._failures = 0
            return news
