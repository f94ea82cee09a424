"""One reader of a project's events for all open pages."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

from jfr_mp.api.events import EventReader, read_events

if TYPE_CHECKING:
    from jfr_mp.database.connection import QueueDatabase
    from jfr_mp.database.job_events import JobEvent

logger = logging.getLogger(__name__)

#: The last events, which the log and the timelines of jobs show.
_REMEMBERED = 5_000
#: Seconds between two messages to a page, however much happens.
_BREATH = 0.7
#: Seconds without news after which a page is told once more; longer than a value is kept.
_SETTLED = 5.0
#: Seconds after which a silent connection gets a comment, so that dead ones are noticed.
_SILENCE = 15.0
#: Seconds until events are read again after an error.
_RETRY = 2.0
#: Pages that may be open at once.
MOST_PAGES = 100


class Hub:
    """Follows the events of one project and tells the pages that show them.

    Parameters
    ----------
    db
        The queue database.
    """

    def __init__(self, db: QueueDatabase) -> None:
        self._db = db
        self.recent: deque[JobEvent] = deque(maxlen=_REMEMBERED)
        #: The number of events so far: what was read at the same number is still right.
        self.version = 0
        self._pages: dict[asyncio.Event, tuple[asyncio.AbstractEventLoop, Callable[[JobEvent], bool]]] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def pages(self) -> int:
        """The number of open pages."""
        return len(self._pages)

    def start(self) -> None:
        """Begin to follow, if that has not been done."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._follow, name="events", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """Stop following."""
        self._stopped.set()
        for page, (loop, _) in list(self._pages.items()):
            loop.call_soon_threadsafe(page.set)

    def of_job(self, db_id: str) -> list[JobEvent]:
        """Return the recent events of a job, oldest first."""
        return [event for event in list(self.recent) if event.db_id == db_id]

    async def messages(self, wanted: Callable[[JobEvent], bool]) -> AsyncIterator[str]:
        """Yield a server-sent event whenever something has happened that is wanted, until the page is closed."""
        news = asyncio.Event()
        self._pages[news] = (asyncio.get_running_loop(), wanted)
        try:
            yield "retry: 1000\nevent: hello\ndata: 1\n\n"
            # What the page has read, and reads now, may have been kept from before the last events.
            settled = False
            while not self._stopped.is_set():
                try:
                    await asyncio.wait_for(news.wait(), _SILENCE if settled else _SETTLED)
                    settled = False
                except TimeoutError:
                    if settled:
                        yield ": alive\n\n"
                        continue
                    settled = True
                news.clear()
                yield "event: change\ndata: 1\n\n"
                await asyncio.sleep(_BREATH)
        finally:
            self._pages.pop(news, None)

    def _follow(self) -> None:
        token: str | None = None
        while not self._stopped.is_set():
            try:
                for event in read_events(EventReader(self._db, token=token), follow=True):
                    token = event.token
                    self.recent.append(event)
                    self.version += 1
                    self._tell(event)
                    if self._stopped.is_set():
                        return
            except Exception:  # the top of a thread: the pages show events again as soon as they can be read
                logger.exception("events cannot be read, next attempt in %s s", _RETRY)
                token = None
                self._stopped.wait(_RETRY)

    def _tell(self, event: JobEvent) -> None:
        for page, (loop, wanted) in list(self._pages.items()):
            if wanted(event) and not page.is_set():
                try:
                    loop.call_soon_threadsafe(page.set)
                except RuntimeError:
                    # The loop has been closed.
                    self._pages.pop(page, None)
