"""READY to CHECKED_OUT: the job is reserved, and its inputs and worker are final."""

from __future__ import annotations

from jfr_mp.model import JobDoc
from jfr_mp.outcomes import Advance, Outcome
from jfr_mp.sites.site import WorkerSite
from jfr_mp.states import JobState
from jfr_mp.steps.services import Services


def run(_job: JobDoc, _site: WorkerSite, _services: Services) -> Outcome:
    """Reserve the job; the claim has already done the work."""
    return Advance(JobState.CHECKED_OUT)
