"""The logs of other machines: asked for beside the pages, seldom, and kept for all of them."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jfr_mp.errors import JfrMpError
from jfr_mp.supervisor.fleet_log import FleetLog, MissingLog

if TYPE_CHECKING:
    from jfr_mp.supervisor.log_order import LogArguments

logger = logging.getLogger(__name__)

#: Seconds for which an answer is shown before the machines are asked again, and between any two times that they are.
_KEPT_FOR, _PAUSE = 10.0, 1.0
#: How many answers are kept, one for each filter, and how many filters wait for their answer.
_MOST_KEPT, _MOST_WAITING = 20, 4
#: Seconds for which a page waits for the first answer: over the bus it takes less, through the database more.
_PATIENCE = 1.0


@dataclass(frozen=True)
class _Kept:
    log: FleetLog
    until: float


class OtherLogs:
    """The logs of other machines, for the pages of one project.

    However many pages are open and whichever filters they have, the machines are asked once a second at most, and for
    one filter once in ten seconds.

    Parameters
    ----------
    ask
        Asks the machines, which may take long.
    """

    def __init__(self, ask: Callable[[LogArguments], FleetLog]) -> None:
        self._ask = ask
        self._lock = threading.Lock()
        self._kept: OrderedDict[LogArguments, _Kept] = OrderedDict()
        #: By filter, what tells the pages that its answer is there.
        self._asked: dict[LogArguments, threading.Event] = {}
        self._asker = ThreadPoolExecutor(1, thread_name_prefix="logs")
        self._closing = threading.Event()

    def get(self, wanted: LogArguments) -> FleetLog | None:
        """Return the last answer; None if there is none yet."""
        with self._lock:
            kept, asked = self._kept.get(wanted), self._asked.get(wanted)
            is_due = kept is None or time.monotonic() >= kept.until
            if is_due and asked is None and len(self._asked) < _MOST_WAITING and not self._closing.is_set():
                asked = self._asked[wanted] = threading.Event()
                self._asker.submit(self._read, wanted)
        if kept is None and asked is not None:
            asked.wait(_PATIENCE)
            with self._lock:
                kept = self._kept.get(wanted)
        return kept.log if kept else None

    def close(self) -> None:
        """Ask no more."""
        self._closing.set()
        self._asker.shutdown(wait=False, cancel_futures=True)

    def _read(self, wanted: LogArguments) -> None:
        try:
            log = self._ask(wanted)
        except JfrMpError as error:
            log = FleetLog(missing=(MissingLog("other machines", "", str(error)),))
        except Exception:  # the top of a thread
            logger.exception("the logs of other machines cannot be read")
            log = FleetLog(missing=(MissingLog("other machines", "", "an unexpected error; the server has logged it"),))
        with self._lock:
            self._kept[wanted] = _Kept(log, time.monotonic() + _KEPT_FOR)
            self._kept.move_to_end(wanted)
            while len(self._kept) > _MOST_KEPT:
                self._kept.popitem(last=False)
            self._asked.pop(wanted).set()
        self._closing.wait(_PAUSE)
