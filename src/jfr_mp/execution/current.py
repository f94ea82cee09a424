"""The document of the running job, for jobs that need to know their worker or their resources."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass
class CurrentJobDoc:
    """The document of the job that this process is running.

    Attributes
    ----------
    job_doc
        The `jfr_mp.model.JobRecord` of the job with `job` (the jobflow Job), `exec_config` and `resources`, or None if
        no job is running. It is a copy made at upload; changes to it have no effect.
    """

    job_doc: Any = None

    def reset(self) -> None:
        """Forget the document."""
        self.job_doc = None


CURRENT_JOBDOC = CurrentJobDoc()
