"""Watching one batch worker: its pool, batches and journal, and the data to remember between two surveys."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from jfr_mp.batch.fate import BatchInfo, Life, life_of
from jfr_mp.batch.markers import Place
from jfr_mp.batch.pool import Look
from jfr_mp.batch.site import BatchSite
from jfr_mp.model import is_uuid
from jfr_mp.schedulers import JobStatus
from jfr_mp.schedulers.journal import Event

#: Seconds after which an event of the journal is discarded.
_NEWS_LIFETIME = 60.0
#: Seconds within which the marker of a job whose script has ended should be found in its new place.
_PUZZLING = 1.0
#: Seconds without a marker after which a job counts as lost. A network file system may show a directory as it was a
#: minute ago, and different directories of a pool as of different times.
NOWHERE = 150.0
#: Seconds without a heartbeat after which a batch counts as ended if no scheduler can be asked for it. Batches of
#: jobflow-remote have a heartbeat every 600 s.
_STRANGER_SILENCE = 1800.0


@dataclass(frozen=True)
class Inspection:
    """The findings about a worker at one time.

    Parameters
    ----------
    look
        The markers.
    lives, infos
        By batch: its phase, and the information that it wrote about itself.
    asked
        Whether the scheduler was asked for the batches at all.
    """

    look: Look
    lives: Mapping[str, Life] = field(default_factory=dict)
    infos: Mapping[str, BatchInfo | None] = field(default_factory=dict)
    asked: bool = False

    def holds(self, batch_uid: str | None) -> bool:
        """Return whether a batch may be running the jobs that it took; True for an unknown batch."""
        return self.lives.get(batch_uid or "", Life.RUNNING).holds_jobs

    @property
    def running(self) -> Counter[str | None]:
        """The number of jobs that each batch is running."""
        return Counter(marker.batch_uid for marker in self.look.markers.values() if marker.place is Place.RUNNING)


class HeldSince:
    """Measure for how long values have been unchanged."""

    def __init__(self) -> None:
        self._since: dict[Hashable, tuple[object, float]] = {}

    def of(self, key: Hashable, value: object = None) -> float:
        """Return the seconds for which `key` has had this value, counted from the first call with it."""
        known = self._since.get(key)
        if known is None or known[0] != value:
            known = self._since[key] = (value, time.monotonic())
        return time.monotonic() - known[1]

    def forget(self, key: Hashable) -> None:
        """Start again for a key."""
        self._since.pop(key, None)


class BatchWatch:
    """Watch one batch worker.

    Parameters
    ----------
    site
        The worker.
    """

    def __init__(self, site: BatchSite) -> None:
        self.site = site
        #: For how long each job has had no marker.
        self.nowhere = HeldSince()
        #: The scheduler's ids of batches.
        self.process_ids: dict[str, str] = {}
        self._journal = site.journal
        self._signs = HeldSince()
        self._absences: Counter[str] = Counter()
        self._news: dict[str, tuple[Event, float]] = {}

    def inspect(self, batch_uids: Collection[str], places: Collection[Place]) -> Inspection:
        """Ask the scheduler for the batches, then read the pool, and return the findings.

        The order matters: markers that a batch left when it ended do not move any more.

        Parameters
        ----------
        batch_uids
            The batches that have not ended as far as the database knows; `process_ids` has their ids.
        places
            The places in which to look for markers.

        Raises
        ------
        HostError
            The scheduler or the host did not answer.
        """
        process_ids = [self.process_ids[uid] for uid in batch_uids]
        statuses = self.site.scheduler.statuses(process_ids) if process_ids else {}
        directories = {uid: self.site.batch_dir(uid) for uid in batch_uids}
        look = self.site.pool.look(places, directories.values())
        infos = {uid: look.infos.get(directory) for uid, directory in directories.items()}
        self._absences = Counter({uid: self._absences[uid] for uid in batch_uids})
        lives = {uid: self._life(uid, statuses.get(self.process_ids[uid]), infos[uid]) for uid in batch_uids}
        return Inspection(look, lives, infos, asked=True)

    def lives_of_strangers(self, batch_uids: Collection[str]) -> dict[str, Life]:
        """Return the phases of batches that the database does not know, because the user ran them by hand.

        Raises
        ------
        HostError
            The host did not answer.
        """
        # The user may give such a batch any name; then it has no directory.
        directories = {uid: self.site.batch_dir(uid) for uid in batch_uids if is_uuid(uid)}
        infos = self.site.pool.look((), directories.values()).infos if directories else {}
        lives = {}
        for uid, directory in directories.items():
            if info := infos.get(directory):
                over = info.end_time or self._signs.of(uid, info.last_ping_time) > _STRANGER_SILENCE
                lives[uid] = Life.GONE if over else Life.RUNNING
        return lives

    def last_line(self, path: str) -> str:
        """Return the last line of a text file on the host, or an empty string if there is no such file.

        Raises
        ------
        HostError
            The host did not answer.
        """
        timeout = self.site.config.timeout_execute
        script = 'test -f "$1" && tail -c 4096 -- "$1" | tail -n 1'
        result = self.site.host.run_script(script, path, timeout=timeout, idempotent=True)
        return result.stdout.strip()[:500] if result.returncode == 0 else ""

    def _life(self, uid: str, status: JobStatus | None, info: BatchInfo | None) -> Life:
        self._absences[uid] = 0 if status is not None else self._absences[uid] + 1
        silent = self._signs.of(uid, info.last_ping_time if info else None)
        return life_of(status, self._absences[uid], info, silent)

    # The journal only gives hints: which markers have moved, and when a job started.

    def read_journal(self) -> None:
        """Read the new events of the journal.

        Raises
        ------
        HostError
            The journal cannot be read now.
        """
        now = datetime.now(UTC)
        for event in self._journal.new_events():
            if (now - event.time).total_seconds() < _NEWS_LIFETIME:
                self._news[event.submission] = (event, time.monotonic())

    @property
    def news(self) -> list[Event]:
        """The events of the journal that have not been settled."""
        return [event for event, _ in self._news.values()]

    def started_at(self, submission: str | None) -> datetime | None:
        """Return the start time of a job, or None if the journal has no recent event of its start."""
        event, _ = self._news.get(submission or "", (None, 0.0))
        return event.time if event and not event.ended else None

    def settle(self, pending: Collection[str]) -> bool:
        """Forget all events except the ends of the jobs with these submission tokens.

        Returns
        -------
        bool
            Whether the end of any of these jobs should be visible in the pool by now, but is not: its batch may have
            died with it. Such an event is forgotten, too.
        """
        kept = {token: news for token, news in self._news.items() if token in pending and news[0].ended}
        puzzling = {token for token, (_, read) in kept.items() if time.monotonic() - read > _PUZZLING}
        self._news = {token: news for token, news in kept.items() if token not in puzzling}
        return bool(puzzling)
