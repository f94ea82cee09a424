"""What a failure of a step means for its job: classified here and nowhere else."""

from __future__ import annotations

import traceback

from jfr_mp.errors import ConfigError, HostError, JfrMpError
from jfr_mp.outcomes import Fail, Outcome, Retry
from jfr_mp.store.faults import TRANSIENT, is_too_large

#: Seconds before a job whose store did not answer is tried again; the job is not to blame and spends no attempt.
_STORE_AWAY_DELAY = 5.0


def outcome_of(error: Exception) -> Outcome:
    """Turn what a step, or the writing of its outcome, raised into an outcome for its job.

    Parameters
    ----------
    error
        The exception, with its traceback.

    Returns
    -------
    Outcome
        A `Retry` that spends no attempt where a store is away, a `Fail` where repeating cannot help, a `Retry` else.
    """
    if isinstance(error, TRANSIENT):
        return Retry(f"a store did not answer: {_one_line(error)}", delay=_STORE_AWAY_DELAY, spend_attempt=False)
    if is_too_large(error):
        return Fail(
            "the output is larger than the 16 MB that MongoDB allows a document: keep large data in an additional "
            f"store (see @job(data=...) in jobflow), or return less ({_one_line(error)})"
        )
    if isinstance(error, HostError):
        return Fail(str(error)) if error.permanent else Retry(str(error))
    if isinstance(error, ConfigError):
        return Fail(str(error))
    if isinstance(error, JfrMpError):
        return Retry(str(error))
    return Retry(_one_line(error), detail="".join(traceback.format_exception(error)))


def _one_line(error: Exception) -> str:
    """Return the kind of an error and the first line of its text."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:500]}" if lines else type(error).__name__
