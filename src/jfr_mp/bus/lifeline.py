"""The lifeline: a pipe by which a role process learns that its master has died, however that happened.

The master holds the writing end and never writes. When it exits, killed or not, the kernel closes that end, and every
reader sees the end of the file. Unlike the parent-death signal of Linux this works everywhere, cannot be missed while
the process starts, and does not depend on which thread of the master did the spawning.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

from jfr_mp.errors import ExitCode

logger = logging.getLogger(__name__)


@contextmanager
def open_lifeline() -> Iterator[int]:
    """Yield a master the reading end, which its role processes inherit; no other process ever gets the writing end."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    try:
        yield reading
    finally:
        os.close(reading)
        os.close(writing)


class Lifeline:
    """Watches the lifeline of a role process, in a daemon thread.

    Parameters
    ----------
    fd
        The reading end of the pipe, which the process inherited from its master.
    on_lost
        Called in that thread when the master has died; should ask for a stop, as `RoleBus.request_stop` does.
    grace
        Seconds that the process has from then on for the current step; it is cut off after them. It can be changed.
    """

    def __init__(self, fd: int, on_lost: Callable[[], None], grace: float) -> None:
        self._fd = fd
        self._on_lost = on_lost
        self.grace = grace
        self._released = threading.Event()

    def __enter__(self) -> Self:
        os.set_inheritable(self._fd, False)
        threading.Thread(target=self._watch, name="lifeline", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._released.set()

    def _watch(self) -> None:
        while os.read(self._fd, 1):
            pass
        if self._released.is_set():
            return
        logger.warning("the master has died: this process stops after the current step, within %g s", self.grace)
        self._on_lost()
        if not self._released.wait(self.grace):
            logger.error("the current step took longer than %g s: this process exits now", self.grace)
            os._exit(ExitCode.NOT_RUNNING)
