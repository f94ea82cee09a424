"""The report of `check_project`: one line for each check, each failure with its cause and its cure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from jfr_mp.diagnosis.deadline import within
from jfr_mp.errors import CommandTimeout, JfrMpError, LoginNeeded


class Verdict(StrEnum):
    """The result of a check."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "not checked"


@dataclass(frozen=True)
class Check:
    """One line of the report.

    Parameters
    ----------
    what
        The thing that was tested.
    verdict
        Its result.
    detail
        What was found.
    cure
        What to do about it.
    """

    what: str
    verdict: Verdict
    detail: str = ""
    cure: str = ""


def attempt(what: str, cure: str, body: Callable[[], str], *, seconds: float) -> Check:
    """Run a check for some seconds at most, and return its line of the report."""
    try:
        return Check(what, Verdict.OK, within(seconds, body))
    except LoginNeeded as error:
        return Check(what, Verdict.FAILED, str(error), "log in with `jfr-mp connect`")
    except CommandTimeout as error:
        slow = "check whether its login shell or file system hangs (log in by `ssh`), or raise timeout_execute"
        return Check(what, Verdict.FAILED, str(error), slow)
    except JfrMpError as error:
        return Check(what, Verdict.FAILED, str(error), cure)
    except Exception as error:  # noqa: BLE001 - stores and drivers raise anything, and the other checks have to go on
        return Check(what, Verdict.FAILED, f"{type(error).__name__}: {error}", cure)
