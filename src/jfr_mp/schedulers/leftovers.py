"""Processes that a job left behind on a worker with the scheduler shell: no scheduler ends them with the job.

The script of a job exports its submission token, which every program inherits that it starts, also in the background,
in another session, or as the child of a process that has ended. Such processes are found by their environment, so that
a process number that was given again is never mistaken for one of them. They get SIGTERM, and SIGKILL later.

A program that clears its environment is not found. The warm server ends the process group of its jobs itself
(`JFR_MP_REAP`), because a process that is forked and executes no program has the environment of the server.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jfr_mp.errors import HostError

if TYPE_CHECKING:
    from jfr_mp.hosts import BaseHost

logger = logging.getLogger(__name__)

#: The environment variable with the submission token, and the one that makes the warm server end what a job leaves.
SUBMISSION, REAP = "JFR_MP_SUBMISSION", "JFR_MP_REAP"

#: Sends a signal ($1) to the processes of the submissions ($2, an alternative of a regular expression), after printing
#: the number and the program of each. grep exits with 1 if there are none, and with 2 if a process has ended meanwhile.
_SIGNAL = f"""
paths=$(grep -lszE "^{SUBMISSION}=($2)$" /proc/[0-9]*/environ 2>/dev/null)
test $? -le 2 || exit 1
pids=
for path in $paths; do
    pid=${{path#/proc/}} pid=${{pid%/environ}}
    pids="$pids $pid"
done
test "$pids" || exit 0
ps -o pid= -o comm= -p "$(echo $pids | tr ' ' ,)"
kill -s "$1" $pids 2>/dev/null || :
"""
_TOKEN = re.compile(r"[0-9a-f]{1,64}")
#: Seconds that processes have to end by themselves after the job, and after SIGTERM.
_GRACE = 2.0
#: How often they are looked for without success, for instance because they leave no memory for the commands that look.
_TRIES = 10
#: The number of submissions that one command looks for.
_AT_ONCE = 200


def variables(submission: str) -> Mapping[str, str]:
    """Return the environment variables by which the processes of a job are found."""
    return {SUBMISSION: submission, REAP: "1"}


def signal_leftovers(host: BaseHost, submissions: Collection[str], signal: str) -> list[str]:
    """Send a signal, such as ``TERM``, to the processes of jobs that have ended.

    Returns
    -------
    list of str
        The number and the program of each.

    Raises
    ------
    HostError
        The host did not answer, or the commands that look for processes failed.
    """
    tokens = [token for token in submissions if _TOKEN.fullmatch(token)]
    if not tokens:
        return []
    result = host.run_script(_SIGNAL, signal, "|".join(tokens), timeout=30, idempotent=True)
    if result.returncode:
        raise HostError(
            f"{host}: looking for processes that jobs left behind failed with exit code {result.returncode}"
        )
    return [" ".join(line.split()) for line in result.stdout.splitlines() if line.strip()]


@dataclass
class _Round:
    due: float
    signal: str = "TERM"
    tries: int = 0


class Leftovers:
    """The jobs of one worker that have ended a moment ago, whose processes have to be stopped.

    Parameters
    ----------
    host
        Returns the connected host.
    clock
        Monotonic time in seconds.
    """

    def __init__(self, host: Callable[[], BaseHost], clock: Callable[[], float] = time.monotonic) -> None:
        self._host = host
        self._clock = clock
        self._rounds: dict[str, _Round] = {}
        self._look_due = 0.0

    def __bool__(self) -> bool:
        """Return whether there are jobs whose processes have not been looked for."""
        return bool(self._rounds)

    def expect(self, submission: str) -> None:
        """Have the processes of a job looked for, which has ended."""
        if submission:
            self._rounds.setdefault(submission, _Round(self._clock() + _GRACE))

    def reap(self) -> None:
        """Look for processes, if it is time."""
        now = self._clock()
        if not self._rounds or now < max(self._look_due, min(each.due for each in self._rounds.values())):
            return
        # All processes of the machine are looked at: not once for each of many short jobs.
        self._look_due = now + _GRACE
        for signal in ("KILL", "TERM"):
            tokens = [token for token, each in self._rounds.items() if each.signal == signal and each.due <= now]
            self._signal(tokens[:_AT_ONCE], signal, now)

    def _signal(self, tokens: list[str], signal: str, now: float) -> None:
        if not tokens:
            return
        try:
            found = signal_leftovers(self._host(), tokens, signal)
        except HostError as error:
            logger.warning("processes of jobs that have ended cannot be looked for: %s", error)
            for token in tokens:
                self._later(token, now)
            return
        if found:
            logger.info("SIG%s was sent to processes that jobs left behind: %s", signal, ", ".join(found)[:500])
        for token in tokens:
            if found and signal == "TERM":
                self._rounds[token] = _Round(now + _GRACE, "KILL")
            else:
                del self._rounds[token]

    def _later(self, token: str, now: float) -> None:
        before = self._rounds.pop(token)
        if before.tries < _TRIES:
            self._rounds[token] = _Round(now + _GRACE, before.signal, before.tries + 1)
