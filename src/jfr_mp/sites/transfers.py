"""The transfers of a process that take long enough to be shown in the status."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

from jfr_mp.hosts.base import Progress
from jfr_mp.model import Transfer, utcnow

#: Seconds after which a transfer is reported for the first time, and between two reports.
_PATIENCE = 1.0


class Transfers:
    """Follows the transfers of all lanes, and reports them periodically.

    Parameters
    ----------
    clock
        Monotonic time in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        #: Receives the transfers under way, in the thread of one of them.
        self.tell: Callable[[Sequence[Transfer]], None] = lambda _transfers: None
        self._lock = threading.Lock()
        self._under_way: dict[str, Transfer] = {}
        self._next_telling = 0.0
        self._told = False

    @contextmanager
    def of(self, db_id: str, worker: str, direction: Literal["upload", "download"]) -> Iterator[Progress]:
        """Follow the transfer of a job's files; the caller reports their progress to the function that it gets."""
        begun, since = self._clock(), utcnow()

        def progress(done: int, total: int) -> None:
            transfer = Transfer(
                db_id=db_id, worker=worker, direction=direction, since=since, done_bytes=done, total_bytes=total
            )
            now = self._clock()
            with self._lock:
                self._under_way[db_id] = transfer
                if now < max(begun + _PATIENCE, self._next_telling):
                    return
                self._say(now)

        try:
            yield progress
        finally:
            with self._lock:
                self._under_way.pop(db_id, None)
                if self._told:
                    self._say(self._clock())

    def _say(self, now: float) -> None:
        self._next_telling = now + _PATIENCE
        self._told = bool(self._under_way)
        self.tell(list(self._under_way.values()))
