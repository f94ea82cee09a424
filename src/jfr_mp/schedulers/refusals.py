"""Why a scheduler did not take a job: its own message, weighed.

The texts are those of Slurm 20 to 24 (`slurm_errno.c` and the names of limits), OpenPBS and Torque (`pbs_messages.c`)
and Son of Grid Engine 8.1.
"""

from __future__ import annotations

import re
from enum import Enum, auto


class Refusal(Enum):
    """What a message means."""

    #: Too many jobs are there already; there will be room.
    LIMIT = auto()
    #: The scheduler itself does not answer; whether it has the job is not known.
    AWAY = auto()
    #: The scheduler will never take this job.
    BAD = auto()
    #: Nobody knows; whether the scheduler has the job is not known either.
    UNCLEAR = auto()


#: The first kind of which a line has a pattern decides. Slurm prints the name of the limit before a line that speaks of
#: all limits at once, those on the size of a job included.
_PATTERNS: tuple[tuple[Refusal, str], ...] = (
    (
        Refusal.LIMIT,
        r"\b(QOS|Assoc)(Max|Grp)(Submit)?Jobs?\w*Limit\b"
        r"|maximum number of jobs|Only \d+ jobs are allowed|would exceed .*\blimit"
        r"|temporarily unable to accept job|Resource temporarily unavailable",
    ),
    (
        Refusal.AWAY,
        r"unable to contact|cannot connect|connection (refused|reset|timed out)|timed out|communication failure"
        r"|commlib error|unable to send message|zero bytes were transmitted|standby|not ready|shutting down"
        r"|unreachable|no route|munge|authentication|try again|act_qmaster"
        r"|configuration source",
    ),
    (
        Refusal.BAD,
        r"invalid|illegal|unknown|unrecognized|does not exist|rejected|denied|unauthori[sz]ed|not permitted"
        r"|not available|can ?not be satisfied|violates|exceeds|is not a|unable to open file|no suitable queue"
        r"|more processors requested|not allowed|bad (uid|gid)",
    ),
)
_RULES = tuple((refusal, re.compile(pattern, re.IGNORECASE)) for refusal, pattern in _PATTERNS)
#: What the commands put before their messages, and lines that say nothing.
_PREFIX = re.compile(r"^(sbatch|qsub):\s*(error:\s*)?")
_NOISE = re.compile(r'^(Exiting\.|Try ".*" for more information|usage:.*)$', re.IGNORECASE)
_LINE_LENGTH = 500


def classify(text: str) -> tuple[Refusal, str]:
    """Return what the message of a submit command means, and the message in one line."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not _NOISE.match(line.strip())]
    for refusal, pattern in _RULES:
        telling = [number for number, line in enumerate(lines) if pattern.search(line)]
        if telling:
            # What comes before is the site's own: greetings, news.
            return refusal, _one_line(lines[telling[0] :])
    return Refusal.UNCLEAR, _one_line(lines)


def _one_line(lines: list[str]) -> str:
    return "; ".join(dict.fromkeys(_PREFIX.sub("", line) for line in lines))[:_LINE_LENGTH]
