"""The environment of the jobs and commands on this machine: that of the runner without its secrets."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jfr_mp.config.options import JfrMpOptions

logger = logging.getLogger(__name__)

#: Variables that hold secrets by their usual names; compared in capital letters.
SECRETS = ("*TOKEN", "*TOKEN_*", "*PASSWORD*", "*PASSWD*", "*PASSPHRASE*", "*SECRET*", "AWS_*", "OTEL_*HEADERS*")
#: What belongs to the runner itself: its service manager, and the job in which it was started, if any.
OF_THE_RUNNER = (
    "NOTIFY_SOCKET",
    "WATCHDOG_*",
    "LISTEN_FDS*",
    "LISTEN_PID",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "JFR_MP_SUBMISSION",
)
#: What no command works without; it is withheld only by its full name.
ESSENTIAL = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_*", "TZ", "TMPDIR", "PYTHON*", "LD_LIBRARY_PATH")


def job_environment(options: JfrMpOptions, environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment variables for jobs and commands on this machine.

    Parameters
    ----------
    options
        The options of the project, of which `pass_environment` and `withhold_environment` are used.
    environment
        The environment of the runner; by default that of this process.
    """
    inherited = os.environ if environment is None else environment
    passed = {name: value for name, value in inherited.items() if _is_passed(name, options)}
    if withheld := sorted(set(inherited) - set(passed)):
        logger.info(
            "jobs on this machine do not get the environment variables %s (see pass_environment)", ", ".join(withheld)
        )
    return passed


def _is_passed(name: str, options: JfrMpOptions) -> bool:
    if _matches(name, options.pass_environment):
        return True
    if name in (*options.withhold_environment, *options.notify.variables) or _matches(name, OF_THE_RUNNER):
        return False
    if _matches(name, ESSENTIAL):
        return True
    return not (_matches(name.upper(), SECRETS) or _matches(name, options.withhold_environment))


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
