"""Submitting batches: as many as the jobs of a worker need, never more than its limit."""

from __future__ import annotations

import logging
import math
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain

from jfr_mp.batch.fate import Life
from jfr_mp.batch.scripts import batch_script, submission_of
from jfr_mp.batch.site import BatchSite
from jfr_mp.batch.watch import BatchWatch, Inspection
from jfr_mp.config.workers import BatchConfig
from jfr_mp.database.batches import BatchDoc, PlannedBatches, explain_waiting, jobs_waiting, update_batch
from jfr_mp.database.connection import QueueDatabase
from jfr_mp.errors import ConfigError, HostError, SiteLimit
from jfr_mp.jobdata.files import QUEUE_ERR
from jfr_mp.model import utcnow
from jfr_mp.states import BatchState

logger = logging.getLogger(__name__)

#: Seconds to wait after a batch that ended without having run a waiting job: doubled each time, up to the second value.
_FIRST_PAUSE, _LONGEST_PAUSE = 10.0, 600.0


@dataclass(frozen=True)
class Offer:
    """The capacity of a batch for waiting jobs.

    Parameters
    ----------
    takes_jobs
        Whether it takes further jobs, or will once it starts.
    running
        The number of jobs that are running in it.
    """

    takes_jobs: bool = True
    running: int = 0


def batches_to_submit(waiting: int, offers: Sequence[Offer], batch: BatchConfig, max_jobs: int | None) -> int:
    """Return the number of batches to submit now, so that every waiting job finds a slot.

    Parameters
    ----------
    waiting
        The number of jobs that no batch has taken.
    offers
        The capacities of all batches that the scheduler has.
    batch
        The options of the worker.
    max_jobs
        The maximum number of batches at a time; None for no limit.
    """
    slots = batch.parallel_jobs or 1
    if batch.max_jobs_per_batch:
        slots = min(slots, batch.max_jobs_per_batch)
    free = sum(max(slots - offer.running, 0) for offer in offers if offer.takes_jobs)
    wanted = math.ceil(max(waiting - free, 0) / slots)
    return wanted if max_jobs is None else max(min(wanted, max_jobs - len(offers)), 0)


@dataclass
class Failures:
    """The consecutive batches of a worker that ended without having run a job."""

    number: int = 0
    #: The monotonic time before which no further batch is submitted, and the reason stored on the waiting jobs.
    until: float = 0.0
    why: str = ""

    def add(self, what: str, reason: str) -> None:
        """Count a failed batch, and set the time of the next submission."""
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(self.number, 16))
        self.number += 1
        self.until = time.monotonic() + pause
        self.why = f"{what} ended without having run a job; the next batch is submitted after {pause:g} s: {reason}"


class BatchSupply:
    """Submit batches and update their documents.

    Parameters
    ----------
    db
        The queue database.
    """

    def __init__(self, db: QueueDatabase) -> None:
        self._db = db
        self._failures: defaultdict[str, Failures] = defaultdict(Failures)

    def record(self, watch: BatchWatch, batches: Sequence[BatchDoc], inspection: Inspection) -> None:
        """Write the findings of an inspection to the documents of the batches."""
        users = {marker.batch_uid for marker in inspection.look.markers.values()}
        for batch in batches:
            life, info = inspection.lives[batch.batch_uid], inspection.infos.get(batch.batch_uid)
            if life is Life.QUEUED:
                continue
            if batch.jobs or batch.batch_uid in users:
                self._failures.pop(batch.worker, None)
            elif life is Life.GONE and jobs_waiting(self._db, batch.worker):
                self._ended_in_vain(watch, batch)
            ping = info.last_ping_time if info else None
            news = {
                "batch_state": BatchState.FINISHED if life is Life.GONE else BatchState.RUNNING,
                "start_time": (info and info.start_time) or batch.start_time,
                "last_ping_time": ping or batch.last_ping_time,
            }
            if life is Life.GONE:
                logger.info("batch %s (%s) of worker %s has ended", batch.batch_uid, batch.process_id, batch.worker)
                news["end_time"] = (info and info.end_time) or ping or utcnow()
            update_batch(self._db, batch, news)

    def fill_up(
        self, watch: BatchWatch, planned: PlannedBatches, inspection: Inspection, *, paused: bool = False
    ) -> None:
        """Finish interrupted submissions, then submit the batches that are needed.

        Parameters
        ----------
        watch
            The worker.
        planned
            Its planned batches, read before the batches of the inspection.
        inspection
            The inspection of the worker.
        paused
            Whether a user has paused the worker. Only interrupted submissions are finished then, because the scheduler
            may have these batches already.

        Raises
        ------
        HostError
            The host or the scheduler did not answer, or refused the submission.
        LeaseLost
            Another process is submitting batches for the same worker.
        """
        number = 0 if paused else self._number_to_submit(watch.site, planned, inspection)
        for batch_uid in chain(planned.uids, planned.plan(number)):
            self._submit(watch, planned, batch_uid)

    def _number_to_submit(self, site: BatchSite, planned: PlannedBatches, inspection: Inspection) -> int:
        """Return how many batches are needed besides those of the inspection and the planned ones."""
        failures = self._failures[site.name]
        if time.monotonic() < failures.until:
            explain_waiting(self._db, site.name, failures.why)
            return 0
        offers = [_offer(uid, life, inspection) for uid, life in inspection.lives.items() if life is not Life.GONE]
        offers += [Offer() for _ in planned.uids]
        return batches_to_submit(jobs_waiting(self._db, site.name), offers, site.options, site.config.max_jobs)

    def _ended_in_vain(self, watch: BatchWatch, batch: BatchDoc) -> None:
        """Delay the next submission, so that a worker with a broken command does not flood its scheduler."""
        directory = watch.site.batch_dir(batch.batch_uid)
        last_line = ""
        with suppress(HostError):
            last_line = watch.last_line(f"{directory}/{QUEUE_ERR}")
        failures = self._failures[batch.worker]
        failures.add(f"batch {batch.process_id}", last_line or f"it left no error message in {directory}")
        logger.warning("worker %s: %s", batch.worker, failures.why)

    def _submit(self, watch: BatchWatch, planned: PlannedBatches, batch_uid: str) -> None:
        name = watch.site.name
        try:
            process_id = submit_batch(watch.site, batch_uid)
        except (HostError, ConfigError) as error:
            if isinstance(error, ConfigError | SiteLimit) or error.permanent:
                # The scheduler does not have this batch. The next round decides whether another one is needed.
                planned.strike_out(batch_uid)
                explain_waiting(self._db, name, f"no batch could be submitted: {error}")
            raise
        planned.submitted(batch_uid, process_id)
        watch.process_ids[batch_uid] = process_id
        logger.info("batch %s was submitted to worker %s: %s", batch_uid, name, process_id)


def submit_batch(site: BatchSite, batch_uid: str) -> str:
    """Submit a batch, or find it if an earlier attempt submitted it, and return the scheduler's id.

    Raises
    ------
    HostError
        As for `jfr_mp.schedulers.QueueManager.submit`.
    """
    directory = site.batch_dir(batch_uid)
    site.host.mkdir(directory)
    return site.scheduler.submit(batch_script(site, batch_uid), directory, submission_of(batch_uid))


def _offer(batch_uid: str, life: Life, inspection: Inspection) -> Offer:
    info = inspection.infos.get(batch_uid)
    takes_jobs = life in (Life.QUEUED, Life.RUNNING) and (info is None or info.takes_jobs)
    return Offer(takes_jobs, inspection.running[batch_uid])
