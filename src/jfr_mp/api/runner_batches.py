"""The methods of `Runner` that process one batch worker piece by piece, as jobflow-remote's Runner does.

A round of the engine (`jfr_mp.batch.rounds`) does the same in one go. The arguments by which jobflow-remote passes its
own objects are accepted and not used.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cached_property

from jfr_mp.batch.markers import Place
from jfr_mp.batch.results import Results, Write
from jfr_mp.batch.site import BatchSite
from jfr_mp.batch.supply import BatchSupply
from jfr_mp.batch.watch import BatchWatch, Inspection
from jfr_mp.database.batches import BatchFilter, PlannedBatches, find_batches, living_batches
from jfr_mp.database.connection import QueueDatabase
from jfr_mp.database.paused_workers import listed
from jfr_mp.errors import ConfigError, HostError
from jfr_mp.sites.site import WorkerSite

logger = logging.getLogger(__name__)


class BatchPieces:
    """The pieces of a round.

    Parameters
    ----------
    db
        The queue database.
    site_of
        Returns the site of a worker.
    write
        Writes the results of jobs.
    """

    def __init__(self, db: QueueDatabase, site_of: Callable[[str], WorkerSite], write: Write) -> None:
        self.db, self._site_of = db, site_of
        self._results, self._supply = Results(db, write), BatchSupply(db)
        self._watches: dict[str, BatchWatch] = {}

    def apply_markers(self, worker_name: str, place: Place) -> list[tuple[str, int, str]]:
        """Write the states of the jobs whose markers are in a place, and return uuid, index and batch of each job."""
        watch = self._watch(worker_name)
        try:
            look = watch.site.pool.look((place,))
        except HostError as error:
            logger.warning("the pool of worker %s cannot be read: %s", worker_name, error)
            return []
        # The batches are not asked for, so a job is moved by its marker only.
        self._results.apply(watch, Inspection(look))
        return [(each.uuid, each.index, each.batch_uid or "") for each in look.markers.values()]

    def update_status(self, worker_name: str) -> list[str] | None:
        """Ask the scheduler for the batches, and write their states and those of the jobs that they have left.

        Returns
        -------
        list of str or None
            The scheduler's ids of the batches that have not ended; None if the scheduler did not answer.
        """
        watch = self._watch(worker_name)
        batches = living_batches(self.db, worker_name)
        watch.process_ids |= {batch.batch_uid: batch.process_id for batch in batches}
        jobs = self._results.jobs(watch)
        try:
            inspection = watch.inspect([batch.batch_uid for batch in batches], tuple(Place))
        except HostError as error:
            logger.warning("the batches of worker %s cannot be listed: %s", worker_name, error)
            return None
        self._results.apply(watch, inspection, jobs)
        self._supply.record(watch, batches, inspection)
        return [batch.process_id for batch in batches if inspection.lives[batch.batch_uid].holds_jobs]

    def submit(self, worker_name: str) -> None:
        """Submit as many batches as the waiting jobs need; the log has the reason if that is not possible.

        None is submitted if a user has paused the worker.

        Raises
        ------
        LeaseLost
            Another process submits batches for the same worker.
        """
        watch = self._watch(worker_name)
        # The planned batches are read before the documents; otherwise a batch could be in neither.
        planned = PlannedBatches(self.db, worker_name)
        batches = living_batches(self.db, worker_name)
        watch.process_ids |= {batch.batch_uid: batch.process_id for batch in batches}
        try:
            inspection = watch.inspect([batch.batch_uid for batch in batches], (Place.RUNNING,))
            paused = any(each.worker == worker_name for each in listed(self.db))
            self._supply.fill_up(watch, planned, inspection, paused=paused)
        except HostError as error:
            logger.warning("no batch can be submitted to worker %s: %s", worker_name, error)

    def _watch(self, worker_name: str) -> BatchWatch:
        if worker_name not in self._watches:
            site = self._site_of(worker_name)
            if not isinstance(site, BatchSite):
                raise ConfigError(f"worker {worker_name!r} is not a batch worker")
            self._watches[worker_name] = BatchWatch(site)
        return self._watches[worker_name]


class BatchMethods:
    """The methods of `Runner` about single batch workers."""

    @cached_property
    def _batch_pieces(self) -> BatchPieces:
        raise NotImplementedError

    def batch_update_running_jobs(self, batch_manager, worker_name: str, worker) -> list[tuple[str, int, str]]:  # type: ignore[no-untyped-def]
        """Set the jobs that a batch has started to BATCH_RUNNING.

        Parameters
        ----------
        worker_name
            The batch worker.
        batch_manager, worker
            No effect: the name says everything.

        Returns
        -------
        list of tuple
            uuid, index and batch of each job that is running.
        """
        return self._batch_pieces.apply_markers(worker_name, Place.RUNNING)

    def batch_update_run_finished_jobs(self, batch_manager, worker_name, worker) -> None:  # type: ignore[no-untyped-def]
        """Set the jobs of a batch worker that have ended to the state after their run; parameters as above."""
        self._batch_pieces.apply_markers(worker_name, Place.FINISHED)

    def batch_update_status(  # type: ignore[no-untyped-def]  # the reference leaves it open
        self, batch_manager, queue_manager, worker_name: str, worker, running_jobs
    ) -> list[str] | None:
        """Update the states of the batches of a worker; a job whose batch has ended returns to the pool.

        Parameters
        ----------
        worker_name
            The batch worker.
        batch_manager, queue_manager, worker, running_jobs
            No effect: the name says everything, and the pool is read after the scheduler was asked.

        Returns
        -------
        list of str or None
            The scheduler's ids of the batches that have not ended; None if the scheduler did not answer.
        """
        return self._batch_pieces.update_status(worker_name)

    def batch_get_process_id(  # type: ignore[no-untyped-def]  # the reference leaves it open
        self, batch_processes, batch_uid: str, worker_name: str, worker
    ) -> str | None:
        """Return the scheduler's id of a batch of a worker, or None if the database does not know the batch."""
        wanted = BatchFilter(batch_uids=(batch_uid,), workers=(worker_name,))
        return next((batch.process_id for batch in find_batches(self._batch_pieces.db, wanted)), None)

    def submit_batch_processes(  # type: ignore[no-untyped-def]  # the reference leaves it open
        self, queue_manager, worker_name: str, worker, running_batch_processes
    ) -> None:
        """Submit as many batches as the waiting jobs of a worker need, never more than its limit.

        Parameters
        ----------
        worker_name
            The batch worker.
        queue_manager, worker, running_batch_processes
            No effect: the name says everything, and the database knows the batches.
        """
        self._batch_pieces.submit(worker_name)
