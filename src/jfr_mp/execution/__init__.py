"""What runs on the worker. A job's own code may import `CURRENT_JOBDOC` from here."""

from jfr_mp.execution.current import CURRENT_JOBDOC

__all__ = ["CURRENT_JOBDOC"]
