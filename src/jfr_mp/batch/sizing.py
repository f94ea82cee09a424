"""How many allocations a batch worker needs: decided here, without a side effect."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from jfr_mp.config.workers import BatchConfig


@dataclass(frozen=True)
class Offer:
    """A living allocation.

    Parameters
    ----------
    takes_jobs
        Whether it still takes jobs, or will once it starts.
    running
        The jobs that run in it.
    """

    takes_jobs: bool = True
    running: int = 0


def allocations_to_submit(waiting: int, offers: Sequence[Offer], batch: BatchConfig, max_jobs: int | None) -> int:
    """Return how many allocations to submit now, so that every job that waits finds a slot.

    Parameters
    ----------
    waiting
        The jobs that no allocation has taken.
    offers
        All allocations that are with the scheduler.
    batch
        The options of the worker.
    max_jobs
        The most allocations at one time; None is no limit.
    """
    slots = batch.parallel_jobs or 1
    if batch.max_jobs_per_batch:
        slots = min(slots, batch.max_jobs_per_batch)
    free = sum(max(slots - offer.running, 0) for offer in offers if offer.takes_jobs)
    wanted = math.ceil(max(waiting - free, 0) / slots)
    return wanted if max_jobs is None else max(min(wanted, max_jobs - len(offers)), 0)
