"""Values that all pages share: each is read once, and kept the longer the more it has cost."""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: A value that took so many seconds is kept for this many times as long.
_KEPT_FOR = 20.0
#: The least time for which a value is kept while jobs change, and the most by default.
_LEAST, _MOST = 0.5, 4.0
#: The time for which a value is kept if nothing has happened since.
_QUIET = 10.0
#: How many values are kept.
_MOST_KEPT = 50


@dataclass(frozen=True)
class Kept:
    """A value for all pages.

    Parameters
    ----------
    value
        The value.
    version
        The number of events when it was read.
    until, quiet_until
        The times at which it is read again: if something has happened since, and if nothing has.
    """

    value: Any
    version: int
    until: float
    quiet_until: float


class SharedValues:
    """Reads and keeps the values of one project.

    Parameters
    ----------
    version
        Returns the number of events so far.
    clock
        Returns the time in seconds.
    """

    def __init__(self, version: Callable[[], int], clock: Callable[[], float] = time.monotonic) -> None:
        self._version = version
        self._clock = clock
        self._kept: dict[str, Kept] = {}
        self._locks: dict[str, threading.Lock] = defaultdict(threading.Lock)
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="reader")
        self._asked: set[str] = set()

    def get(
        self, name: str, ask: Callable[[], T], *, most: float = _MOST, quiet: float = _QUIET, late: bool = False
    ) -> T:
        """Return a value, which is asked for at most once at a time.

        Parameters
        ----------
        name
            Identifies the value.
        ask
            Reads it.
        most
            The most seconds for which it is kept while jobs change.
        quiet
            The seconds for which it is kept if no job has changed; 0 for a value that changes without jobs.
        late
            Whether the caller takes the last value while the next one is being read.
        """
        with self._locks[name]:
            kept = self._kept.get(name)
            if kept is None or not (late or self._is_good(kept)):
                kept = self._read(name, ask, most, quiet)
            elif not self._is_good(kept) and name not in self._asked:
                self._asked.add(name)
                self._reader.submit(self._read_again, name, ask, most, quiet)
            found: T = kept.value
            return found

    def close(self) -> None:
        """Read no more."""
        self._reader.shutdown(wait=False, cancel_futures=True)

    def _is_good(self, kept: Kept) -> bool:
        return self._clock() < (kept.quiet_until if kept.version == self._version() else kept.until)

    def _read(self, name: str, ask: Callable[[], Any], most: float, quiet: float) -> Kept:
        begin, version = self._clock(), self._version()
        value = ask()
        end = self._clock()
        until = end + min(max(_LEAST, _KEPT_FOR * (end - begin)), most)
        self._kept[name] = kept = Kept(value, version, until, max(until, end + quiet))
        while len(self._kept) > _MOST_KEPT:
            # The oldest one, such as that of a flow.
            self._kept.pop(next(iter(self._kept)), None)
        return kept

    def _read_again(self, name: str, ask: Callable[[], Any], most: float, quiet: float) -> None:
        try:
            self._read(name, ask, most, quiet)
        except Exception as error:  # noqa: BLE001 - the next page that needs the value asks again
            logger.debug("%s cannot be read: %s", name, error)
        finally:
            self._asked.discard(name)
