"""Looking after the batch workers of a project: rounds, and between them what their journals say."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from jfr_mp.batch.allocations import Submitting
from jfr_mp.batch.apply_results import Settling
from jfr_mp.batch.fate import Life
from jfr_mp.batch.markers import Place
from jfr_mp.batch.watch import BatchWatch, Survey
from jfr_mp.database.batches import PlannedBatches, busy_workers, living_batches
from jfr_mp.engine.step_runner import StepResult, StepRunner
from jfr_mp.errors import ConfigError, HostError, HostUnreachable, LeaseLost

logger = logging.getLogger(__name__)

#: Seconds between two rounds at least: a hundred jobs that come into a pool at once make one round, not a hundred.
_ROUND = 1.0
_LONG_AGO = float("-inf")
#: Where markers are that move; the others, of jobs that wait, may be many.
_MOVING = (Place.RUNNING, Place.FINISHED)


class Batching:
    """Looks after the jobs of batch workers and their allocations.

    Parameters
    ----------
    advancer
        Writes the outcomes.
    on_advance
        Told of each job that moved.
    """

    def __init__(self, advancer: StepRunner, on_advance: Callable[[StepResult], None]) -> None:
        self._services = advancer.services
        self._db = advancer.db
        self._settling = Settling(advancer, on_advance)
        self._submitting = Submitting(advancer.db, advancer.services)
        self._watches: dict[str, BatchWatch] = {}
        #: By worker, in monotonic seconds: the last round, and the last one that looked at all markers.
        self._rounds: dict[str, float] = {}
        self._audits: dict[str, float] = {}

    @property
    def anything_submitted(self) -> bool:
        """Whether jobs may be in a pool, so that following the journals makes sense."""
        return bool(self._watches)

    def submitted(self, worker_name: str) -> None:
        """Begin to watch a worker into whose pool a job was put."""
        self._watch(worker_name)

    def update(self, query: Mapping[str, Any] | None = None) -> float | None:
        """Make a round of the workers that have jobs in their pools, or allocations.

        Parameters
        ----------
        query
            A condition on the field `worker`.

        Returns
        -------
        float or None
            Seconds after which there should be another round, where that is soon.

        Raises
        ------
        HostUnreachable
            A host is away; the workers after it have not been looked at.
        """
        busy = busy_workers(self._db, query or {})
        known = {name for name, worker in self._services.project.workers.items() if worker.is_batch}
        for name in sorted(busy - known):
            logger.warning("worker %s is no batch worker of this project any more; the jobs in its pool wait", name)
        self._watches = {name: watch for name, watch in self._watches.items() if name in busy}
        pauses = [self._round(name) for name in sorted(busy & known)]
        return min((pause for pause in pauses if pause is not None), default=None)

    def follow_journals(self) -> None:
        """Read the journals of the watched workers, and look at the markers of the jobs that started or ended.

        Raises
        ------
        HostUnreachable
            A host is away.
        """
        for name, watch in list(self._watches.items()):
            try:
                watch.read_journal()
                if watch.news:
                    self._settle_news(watch)
            except HostUnreachable:
                raise
            except HostError as error:
                logger.debug("the journal or the pool of worker %s cannot be read: %s", name, error)

    def _watch(self, name: str) -> BatchWatch:
        if name not in self._watches:
            self._watches[name] = BatchWatch(name, self._services)
        return self._watches[name]

    def _settle_news(self, watch: BatchWatch) -> None:
        events = watch.news
        self._settling.settle(watch, Survey(watch.pool.look(_MOVING)))
        left = self._settling.jobs(watch, {"uuid": {"$in": [event.uuid for event in events]}})
        puzzling = watch.settle({job.remote.submission or "" for job in left})
        # The end of an allocation stands in the journal as well.
        if puzzling or any(event.ended and event.uuid in watch.process_ids for event in events):
            self._rounds.pop(watch.worker_name, None)
            self._round(watch.worker_name)

    def _round(self, name: str) -> float | None:
        wait = self._rounds.get(name, _LONG_AGO) + _ROUND - time.monotonic()
        if wait > 0:
            return wait
        self._rounds[name] = time.monotonic()
        try:
            return self._make_round(self._watch(name))
        except HostUnreachable:
            raise
        except (HostError, ConfigError) as error:
            # No answer says nothing about any job: none changes its state.
            logger.warning("batch worker %s cannot be looked after now: %s", name, error)
        except LeaseLost as error:
            logger.info("%s", error)
        return None

    def _make_round(self, watch: BatchWatch) -> float | None:
        name = watch.worker_name
        # The book before the documents, or an allocation could be in neither.
        book = PlannedBatches(self._db, name)
        batches = living_batches(self._db, name)
        watch.process_ids |= {batch.batch_uid: batch.process_id for batch in batches}
        every = float(self._services.project.runner.delay_update_batch)
        audit = time.monotonic() - self._audits.get(name, _LONG_AGO) >= every
        # The jobs before the markers: each of them has one by now.
        jobs = self._settling.jobs(watch) if audit else None
        survey = watch.survey([batch.batch_uid for batch in batches], tuple(Place) if audit else _MOVING)
        self._settling.settle(watch, survey, jobs)
        if audit:
            self._audits[name] = time.monotonic()
        self._submitting.record(watch, batches, survey)
        self._submitting.fill_up(watch, book, survey)
        return _ROUND if Life.DOUBTFUL in survey.lives.values() else None
