"""Processing batch workers: a round for each worker periodically, and between rounds the events of its journal."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from jfr_mp.batch.fate import Life
from jfr_mp.batch.markers import Place
from jfr_mp.batch.results import Results, Write
from jfr_mp.batch.site import BatchSite
from jfr_mp.batch.supply import BatchSupply
from jfr_mp.batch.watch import BatchWatch, Inspection
from jfr_mp.database.batches import BatchDoc, PlannedBatches, busy_workers, living_batches
from jfr_mp.database.connection import QueueDatabase
from jfr_mp.database.filters import JobFilter
from jfr_mp.database.paused_workers import PausedWorkers
from jfr_mp.errors import ConfigError, HostError, HostUnreachable, LeaseLost

if TYPE_CHECKING:
    from jfr_mp.config import Project
    from jfr_mp.sites.site import WorkerSite

logger = logging.getLogger(__name__)

#: The minimum number of seconds between two rounds, so that a hundred jobs that enter a pool together cause one round.
_ROUND = 1.0
_LONG_AGO = float("-inf")
#: The places of the markers of running and finished jobs; waiting jobs may be many.
_MOVING = (Place.RUNNING, Place.FINISHED)


class BatchRounds:
    """The survey of the step `batch`: see `jfr_mp.engine.surveys.Survey` for its methods.

    Parameters
    ----------
    db
        The queue database.
    site_of
        Returns the site of a worker.
    write
        Writes the result of one job.
    report
        Called with problems that the user should know about and that no job records.
    """

    def __init__(
        self,
        db: QueueDatabase,
        site_of: Callable[[str], WorkerSite],
        write: Write,
        report: Callable[[str], None],
    ) -> None:
        self._db = db
        self._site_of = site_of
        self._report = report
        self._results = Results(db, write)
        self._supply = BatchSupply(db)
        self._paused = PausedWorkers(db)
        #: The workers that were paused in their last round, so that no batch was submitted.
        self._held: set[str] = set()
        self._watches: dict[str, BatchWatch] = {}
        #: By worker, in monotonic seconds: the last round, and the last round that read all markers.
        self._rounds: dict[str, float] = {}
        self._audits: dict[str, float] = {}

    @staticmethod
    def concerns(project: Project) -> bool:
        """Return whether a project has batch workers."""
        return any(worker.is_batch for worker in project.workers.values())

    @property
    def has_work(self) -> bool:
        """Whether jobs may be in a pool, so that the journals have to be followed."""
        return bool(self._watches)

    def watch(self, site: WorkerSite) -> None:
        """Start watching a worker, because a job was put into its pool."""
        if isinstance(site, BatchSite) and site.name not in self._watches:
            self._watches[site.name] = BatchWatch(site)

    def ask(self, jobs: JobFilter) -> float | None:
        """Make a round for each worker that has jobs in its pool, or batches that have not ended.

        Parameters
        ----------
        jobs
            Only the workers of these jobs.

        Returns
        -------
        float or None
            Seconds until the next round, if it is due sooner than usual.

        Raises
        ------
        HostUnreachable
            A host is unreachable; the remaining workers were not processed.
        """
        busy = sorted(name for name in busy_workers(self._db) if jobs.may_be_on(name))
        for name in busy:
            self._watch_by_name(name)
        self._watches = {name: watch for name, watch in self._watches.items() if name in busy}
        pauses = [self._round(watch) for watch in self._watches.values()]
        return min((pause for pause in pauses if pause is not None), default=None)

    def follow(self, jobs: JobFilter) -> None:
        """Read the journals of the watched workers, and process the markers of the jobs that started or ended.

        Raises
        ------
        HostUnreachable
            A host is unreachable.
        """
        # No event announces that a worker is resumed.
        resumed = self._held.difference(self._paused.names()) if self._held else ()
        for watch in [watch for name, watch in self._watches.items() if jobs.may_be_on(name)]:
            if watch.site.name in resumed:
                self._round(watch)
            try:
                watch.read_journal()
                if watch.news:
                    self._apply_news(watch)
            except HostUnreachable:
                raise
            except HostError as error:
                logger.debug("the journal or the pool of worker %s cannot be read: %s", watch.site.name, error)

    def _watch_by_name(self, name: str) -> None:
        try:
            self.watch(self._site_of(name))
        except ConfigError as error:
            logger.warning("the jobs in the pool of worker %s wait: %s", name, error)
            return
        if name not in self._watches:
            logger.warning(
                "the jobs in the pool of worker %s wait: it is not a batch worker any more; restore its batch options",
                name,
            )

    def _apply_news(self, watch: BatchWatch) -> None:
        events = watch.news
        self._results.apply(watch, Inspection(watch.site.pool.look(_MOVING)))
        left = self._results.jobs(watch, {event.uuid for event in events})
        puzzling = watch.settle({job.remote.submission or "" for job in left})
        # The journal contains the ends of batches as well.
        if puzzling or any(event.ended and event.uuid in watch.process_ids for event in events):
            self._rounds.pop(watch.site.name, None)
            self._round(watch)

    def _round(self, watch: BatchWatch) -> float | None:
        name = watch.site.name
        wait = self._rounds.get(name, _LONG_AGO) + _ROUND - time.monotonic()
        if wait > 0:
            return wait
        self._rounds[name] = time.monotonic()
        try:
            return self._make_round(watch)
        except HostUnreachable:
            raise
        except (HostError, ConfigError) as error:
            # Without an answer nothing is known about any job, so no job changes its state.
            logger.warning("batch worker %s cannot be processed now: %s", name, error)
        except LeaseLost as error:
            logger.info("%s", error)
        return None

    def _make_round(self, watch: BatchWatch) -> float | None:
        name = watch.site.name
        # The planned batches are read before the documents; otherwise a batch could be in neither.
        planned = PlannedBatches(self._db, name)
        batches = living_batches(self._db, name)
        inspection = self._process_jobs(watch, batches)
        self._supply.record(watch, batches, inspection)
        paused = name in self._paused.names()
        (self._held.add if paused else self._held.discard)(name)
        self._supply.fill_up(watch, planned, inspection, paused=paused)
        return _ROUND if Life.DOUBTFUL in inspection.lives.values() else None

    def _process_jobs(self, watch: BatchWatch, batches: Sequence[BatchDoc]) -> Inspection:
        """Inspect a worker, write the results of the jobs in its pool, and return the inspection."""
        name = watch.site.name
        watch.process_ids |= {batch.batch_uid: batch.process_id for batch in batches}
        every = float(self._db.project.runner.delay_update_batch)
        audit = time.monotonic() - self._audits.get(name, _LONG_AGO) >= every
        # The jobs are read before the markers, so that each of them has its marker by then.
        jobs = self._results.jobs(watch) if audit else None
        inspection = watch.inspect([batch.batch_uid for batch in batches], tuple(Place) if audit else _MOVING)
        self._results.apply(watch, inspection, jobs)
        if audit:
            self._audits[name] = time.monotonic()
        return inspection
