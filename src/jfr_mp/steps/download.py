"""RUN_FINISHED to DOWNLOADED: the output files are where the complete role reads them."""

from __future__ import annotations

from jfr_mp.model import JobDoc
from jfr_mp.outcomes import Advance, Fail, Outcome
from jfr_mp.services import Services
from jfr_mp.states import JobState


def run(job: JobDoc, services: Services) -> Outcome:
    """Bring the output files to this machine; those of a local worker are here already."""
    if services.worker(job.worker).is_local:
        return Advance(JobState.DOWNLOADED)
    return Fail(f"worker {job.worker!r} is remote, and this version downloads from local workers only")
