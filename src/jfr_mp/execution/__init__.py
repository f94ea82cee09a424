"""The code that runs on the worker. The code of a job may import `CURRENT_JOBDOC` from here."""

from jfr_mp.execution.current import CURRENT_JOBDOC

__all__ = ["CURRENT_JOBDOC"]
