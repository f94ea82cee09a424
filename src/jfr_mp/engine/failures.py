"""The only place that classifies the failures of steps and decides what they mean for the job."""

from __future__ import annotations

import errno
import os
import traceback
from collections.abc import Callable

from jfr_mp.database.faults import TRANSIENT, is_too_large
from jfr_mp.errors import (
    CommandTimeout,
    ConfigError,
    FlowMissing,
    HostError,
    HostUnreachable,
    JfrMpError,
    LeaseLost,
    LoginNeeded,
    SiteLimit,
    UnresolvableReference,
)
from jfr_mp.outcomes import Blame, Fail, Retry

#: Seconds before a retry if a store did not answer, and if the site accepts no more jobs or files at the moment.
_STORE_DOWN_DELAY, _SITE_DELAY = 5.0, 60.0
#: Seconds before a retry of a step that was abandoned because this process may have lost the job.
_LEASE_LOST_DELAY = 1.0
#: The messages of the operating system for a full file system and an exceeded quota, here and on hosts.
_NO_ROOM = tuple(os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT))


def outcome_of(error: Exception) -> Retry | Fail:
    """Return the outcome for a job whose step, or the commit of its outcome, raised an error.

    Parameters
    ----------
    error
        The exception, with its traceback.
    """
    return next(outcome(error) for applies, outcome in _RULES if applies(error))


def _is(*kinds: type[Exception]) -> Callable[[Exception], bool]:
    return lambda error: isinstance(error, kinds)


def _store_down(error: Exception) -> Retry:
    why = f"a store did not answer: {_one_line(error)}"
    return Retry(why, delay=_STORE_DOWN_DELAY, blame=Blame.CIRCUMSTANCES)


def _too_large(error: Exception) -> Fail:
    return Fail(
        "the output is larger than 16 MB, MongoDB's limit for a document: store large data in an additional store "
        f"(see @job(data=...) in jobflow), or return less data ({_one_line(error)})"
    )


def _no_room(error: Exception) -> bool:
    return isinstance(error, (HostError, OSError)) and any(text in str(error) for text in _NO_ROOM)


def _wait(why: str) -> Retry:
    return Retry(why, delay=_SITE_DELAY, blame=Blame.CIRCUMSTANCES)


def _bug(error: Exception) -> Retry:
    return Retry(_one_line(error), detail="".join(traceback.format_exception(error)))


def _one_line(error: Exception) -> str:
    """Return the type of an error and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0][:500]}" if lines else type(error).__name__


#: The first rule that applies decides; the last rule always applies.
_RULES: tuple[tuple[Callable[[Exception], bool], Callable[[Exception], Retry | Fail]], ...] = (
    (_is(*TRANSIENT), _store_down),
    (is_too_large, _too_large),
    (_is(LoginNeeded), lambda error: Retry(str(error), delay=0, blame=Blame.LOGIN)),
    (_is(HostUnreachable), lambda error: Retry(str(error), delay=0, blame=Blame.HOST)),
    # A hanging file system or login shell is not caused by the job.
    (_is(SiteLimit, CommandTimeout), lambda error: _wait(str(error))),
    (_no_room, lambda error: _wait(f"{error}; the job waits until space is freed")),
    (_is(LeaseLost), lambda error: Retry(str(error), delay=_LEASE_LOST_DELAY, blame=Blame.CIRCUMSTANCES)),
    (lambda error: isinstance(error, HostError) and error.permanent, lambda error: Fail(str(error))),
    (_is(ConfigError, FlowMissing, UnresolvableReference), lambda error: Fail(str(error))),
    (_is(JfrMpError), lambda error: Retry(str(error))),
    (_is(Exception), _bug),
)
