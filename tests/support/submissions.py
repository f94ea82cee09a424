"""What the upload of a job does to its run directory before it is submitted again."""

from __future__ import annotations

from pathlib import PurePath, PurePosixPath

from jfr_mp.hosts import BaseHost
from jfr_mp.schedulers.submission import SUBMISSION_FILES


def forget_submission(host: BaseHost, run_dir: str | PurePath) -> None:
    """Let the next submission in a run directory start a new job instead of finding the earlier one."""
    for name in SUBMISSION_FILES:
        host.remove(PurePosixPath(run_dir, name))
