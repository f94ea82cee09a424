"""Classifying the messages of schedulers that refused a job.

The texts are those of Slurm 20 to 24 (`slurm_errno.c` and the names of limits), OpenPBS and Torque (`pbs_messages.c`)
and Son of Grid Engine 8.1.
"""

from __future__ import annotations

import re
from enum import Enum, auto


class Refusal(Enum):
    """The meaning of a message."""

    #: A limit on the number of jobs has been reached; the job can be submitted later.
    LIMIT = auto()
    #: The scheduler does not answer; it is unknown whether it has the job.
    AWAY = auto()
    #: The scheduler will never accept this job.
    BAD = auto()
    #: The message is not known; it is unknown whether the scheduler has the job.
    UNCLEAR = auto()


#: The first meaning with a matching line decides. Slurm prints the name of the limit before a line that mentions all
#: limits at once, including the limits on the size of a job.
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
#: The prefixes of the messages, and lines without information.
_PREFIX = re.compile(r"^(sbatch|qsub):\s*(error:\s*)?")
_NOISE = re.compile(r'^(Exiting\.|Try ".*" for more information|usage:.*)$', re.IGNORECASE)
_LINE_LENGTH = 500


def classify(text: str) -> tuple[Refusal, str]:
    """Return the meaning of the message of a submit command, and the message as one line."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and not _NOISE.match(line.strip())]
    for refusal, pattern in _RULES:
        telling = [number for number, line in enumerate(lines) if pattern.search(line)]
        if telling:
            # Earlier lines are greetings and news of the site.
            return refusal, _one_line(lines[telling[0] :])
    return Refusal.UNCLEAR, _one_line(lines)


def _one_line(lines: list[str]) -> str:
    return "; ".join(dict.fromkeys(_PREFIX.sub("", line) for line in lines))[:_LINE_LENGTH]
