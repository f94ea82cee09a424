"""The allocations of a batch worker: as many as its jobs need, never more than it may have."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from uuid import uuid4

from jfr_mp.batch.fate import Life
from jfr_mp.batch.scripts import allocation_dir, batch_of, submit_allocation
from jfr_mp.batch.sizing import Offer, allocations_to_submit
from jfr_mp.batch.watch import BatchWatch, Survey
from jfr_mp.database.batches import BatchDoc, PlannedBatches, explain_waiting, jobs_waiting, update_batch
from jfr_mp.database.connection import QueueDatabase
from jfr_mp.errors import ConfigError, HostError, SiteLimit
from jfr_mp.jobdata.files import QUEUE_ERR
from jfr_mp.model import utcnow
from jfr_mp.states import BatchState
from jfr_mp.steps.services import Services

logger = logging.getLogger(__name__)

#: Seconds without a submission after a batch that ended although jobs waited for it: doubled with each further one.
_FIRST_PAUSE, _LONGEST_PAUSE = 10.0, 600.0


@dataclass
class Failures:
    """Batches of a worker that ended one after the other without having run a job."""

    number: int = 0
    #: The monotonic time before which no further one is submitted, and what the jobs say that wait for it.
    until: float = 0.0
    why: str = ""

    def add(self, what: str, reason: str) -> None:
        """Add one."""
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(self.number, 16))
        self.number += 1
        self.until = time.monotonic() + pause
        self.why = f"{what} ended without having run a job, and {pause:g} s pass before the next one: {reason}"


class Submitting:
    """Submits allocations and keeps their documents.

    Parameters
    ----------
    db
        Where the documents are.
    services
        Gives the hosts and the schedulers.
    """

    def __init__(self, db: QueueDatabase, services: Services) -> None:
        self._db = db
        self._services = services
        self._failures: defaultdict[str, Failures] = defaultdict(Failures)

    def record(self, watch: BatchWatch, batches: Sequence[BatchDoc], survey: Survey) -> None:
        """Write what was seen of the allocations into their documents."""
        users = {marker.batch_uid for marker in survey.look.markers.values()}
        for batch in batches:
            life, info = survey.lives[batch.batch_uid], survey.infos.get(batch.batch_uid)
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

    def fill_up(self, watch: BatchWatch, book: PlannedBatches, survey: Survey) -> None:
        """Go on with the submissions that somebody has not finished, then submit the allocations that are missing.

        Parameters
        ----------
        watch
            The worker.
        book
            Its book, read before the allocations of the survey were.
        survey
            What was seen of it.

        Raises
        ------
        HostError
            The host or the scheduler did not answer, or refused.
        LeaseLost
            Another process does the same.
        """
        planned = list(book.planned)
        for batch_uid in planned:
            self._submit(watch, book, batch_uid)
        batch = batch_of(watch.worker)
        failures = self._failures[watch.worker_name]
        if time.monotonic() < failures.until:
            explain_waiting(self._db, watch.worker_name, failures.why)
            return
        waiting = jobs_waiting(self._db, watch.worker_name)
        offers = [_offer(uid, life, survey) for uid, life in survey.lives.items() if life is not Life.GONE]
        offers += [Offer() for _ in planned]
        for _ in range(allocations_to_submit(waiting, offers, batch, watch.worker.max_jobs)):
            batch_uid = str(uuid4())
            book.plan(batch_uid)
            self._submit(watch, book, batch_uid)

    def _ended_in_vain(self, watch: BatchWatch, batch: BatchDoc) -> None:
        """Wait before the next submission: a worker whose command does not run would fill the scheduler for ever."""
        directory = allocation_dir(watch.worker, batch.batch_uid)
        last_line = ""
        with suppress(HostError):
            last_line = watch.last_line(f"{directory}/{QUEUE_ERR}")
        failures = self._failures[batch.worker]
        failures.add(f"batch {batch.process_id}", last_line or f"it left no error in {directory}")
        logger.warning("worker %s: %s", batch.worker, failures.why)

    def _submit(self, watch: BatchWatch, book: PlannedBatches, batch_uid: str) -> None:
        name = watch.worker_name
        try:
            process_id = submit_allocation(self._services, name, batch_uid)
        except (HostError, ConfigError) as error:
            if isinstance(error, ConfigError | SiteLimit) or error.permanent:
                # The scheduler has nothing of ours: what is needed next time, the next round will know.
                book.strike_out(batch_uid)
                explain_waiting(self._db, name, f"no batch could be submitted: {error}")
            raise
        book.submitted(batch_uid, process_id)
        watch.process_ids[batch_uid] = process_id
        logger.info("batch %s was submitted to worker %s: %s", batch_uid, name, process_id)


def _offer(batch_uid: str, life: Life, survey: Survey) -> Offer:
    """Say what an allocation offers to the jobs that wait."""
    info = survey.infos.get(batch_uid)
    takes_jobs = life in (Life.QUEUED, Life.RUNNING) and (info is None or info.takes_jobs)
    return Offer(takes_jobs, survey.running[batch_uid])
