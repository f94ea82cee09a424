"""Small functions that scripts import from jobflow-remote's utilities."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from jfr_mp.jobdata.files import job_path


def suuid() -> str:
    """Return a new uuid."""
    return str(uuid4())


def convert_utc_time(datetime_value: datetime) -> datetime:
    """Return a time of a document, which is in UTC and has no time zone, in the time zone of this machine."""
    return datetime_value.replace(tzinfo=UTC).astimezone()


def get_job_path(job_id: str, index: int | None, base_path: str | Path | None = None) -> str:
    """Return the run directory of a job below the work_dir of a worker."""
    return job_path(job_id, index, Path(base_path or ""))
