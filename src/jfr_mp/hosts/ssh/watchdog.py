"""A limit on the time for which an operation may go without progress."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Self


class Watchdog:
    """Aborts an operation that makes no progress, by calling a function from a thread of its own.

    Some operations of paramiko wait without any limit; only closing the connection ends them.

    Parameters
    ----------
    abort
        Ends the operation; called once at most.
    patience
        Seconds without progress.
    """

    def __init__(self, abort: Callable[[], None], patience: float) -> None:
        self._abort = abort
        self.patience = patience
        self._last_progress = 0.0
        self._timer: threading.Timer | None = None
        self._lock = threading.Lock()
        self._ended = False
        #: Whether patience has run out.
        self.fired = False

    def __enter__(self) -> Self:
        """Start watching."""
        self.progress()
        self._wait(self.patience)
        return self

    def __exit__(self, *_exception: object) -> None:
        """Stop watching."""
        with self._lock:
            self._ended = True
            if self._timer is not None:
                self._timer.cancel()

    def progress(self) -> None:
        """Record progress."""
        self._last_progress = time.monotonic()

    def _wait(self, seconds: float) -> None:
        with self._lock:
            if self._ended:
                return
            self._timer = threading.Timer(seconds, self._look)
            self._timer.daemon = True
            self._timer.start()

    def _look(self) -> None:
        left = self._last_progress + self.patience - time.monotonic()
        if left > 0:
            self._wait(left)
            return
        with self._lock:
            if self._ended:
                return
            self.fired = True
        self._abort()
