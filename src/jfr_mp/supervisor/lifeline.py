"""How a role process learns that its master has gone, however that went.

The master holds the writing end of a pipe and never writes. When it ends, killed or not, the kernel closes that end and
every reader sees the end of the file. Unlike the death signal of Linux this works everywhere, cannot be missed while
the process starts, and does not depend on which thread of the master did the spawning.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from typing import Self

from jfr_mp.errors import ExitCode

logger = logging.getLogger(__name__)


class Lifeline:
    """Watches the life-line in a thread of its own, which keeps no process alive.

    Parameters
    ----------
    fd
        The reading end of the pipe, as the master handed it over.
    on_lost
        Called in that thread when the master has gone; should ask for a stop, as `RoleBus.request_stop` does.
    grace
        Seconds that the process has from then on for the step in hand; what still runs after them is ended on the spot.
    """

    def __init__(self, fd: int, on_lost: Callable[[], None], grace: float) -> None:
        self._fd = fd
        self._on_lost = on_lost
        self._grace = grace
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
        logger.warning("the master has gone: this process ends after the step in hand, in %g s at most", self._grace)
        self._on_lost()
        if not self._released.wait(self._grace):
            logger.error("the step in hand did not end within %g s: the process ends now", self._grace)
            os._exit(ExitCode.NOT_RUNNING)
