"""The document of the job that this process runs, for a job that wants to know its worker or its resources."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass
class CurrentJobDoc:
    """Holds the document while a job runs.

    Attributes
    ----------
    job_doc
        The `jfr_mp.model.JobRecord` of the job with `job` (the jobflow Job), `exec_config` and `resources`, or None
        where no job runs. It is a copy made at upload: changing it changes nothing.
    """

    job_doc: Any = None

    def reset(self) -> None:
        """Forget the document."""
        self.job_doc = None


CURRENT_JOBDOC = CurrentJobDoc()
