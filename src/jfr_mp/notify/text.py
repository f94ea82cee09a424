"""The text of a message: what has happened, how often, to what first, and the command that shows it."""

from __future__ import annotations

import shlex
from typing import NamedTuple

from jfr_mp.config.notifications import Occasion
from jfr_mp.database.notifications import Bundle, Notice
from jfr_mp.logs import clean

#: How many notices a message lists.
LISTED = 10
_LONGEST_SUBJECT, _LONGEST_DETAIL = 200, 200


class Phrase(NamedTuple):
    """How an occasion is told.

    Parameters
    ----------
    one, many
        For the title: "1 job FAILED", "37 jobs FAILED".
    command
        What shows all of them.
    single
        What shows one of them; ``{}`` stands for its reference.
    """

    one: str
    many: str
    command: str
    single: str = ""


PHRASES: dict[str, Phrase] = {
    Occasion.FLOW_COMPLETED: Phrase("flow COMPLETED", "flows COMPLETED", "flow list -s COMPLETED", "flow info {}"),
    Occasion.FLOW_FAILED: Phrase("flow FAILED", "flows FAILED", "flow list -s FAILED", "flow info {}"),
    Occasion.JOB_FAILED: Phrase("job FAILED", "jobs FAILED", "job list -s FAILED", "job explain {}"),
    Occasion.REMOTE_ERROR: Phrase(
        "job in REMOTE_ERROR", "jobs in REMOTE_ERROR", "job list -s REMOTE_ERROR", "job explain {}"
    ),
    Occasion.HOST_DOWN: Phrase("host unreachable", "hosts unreachable", "status"),
    Occasion.LOGIN_NEEDED: Phrase("host needs a login", "hosts need a login", "connect"),
    Occasion.ROLE_FATAL: Phrase("role process given up", "role processes given up", "status"),
    Occasion.MASTER_LOST: Phrase("master lost", "masters lost", "status"),
}


def compose(project: str, bundle: Bundle) -> tuple[str, str]:
    """Return the title and the body of a message.

    Parameters
    ----------
    project
        The name of the project.
    bundle
        What it is about.
    """
    counts = {name: bundle.counts[name] for name in Occasion if bundle.counts.get(name)}
    told = ", ".join(f"{number} {_phrase(name, number)}" for name, number in counts.items())
    total = sum(counts.values())
    lines = [_line(notice) for notice in bundle.first]
    if total > len(lines):
        lines.append(f"... and {total - len(lines)} more")
    if total == 1 and (single := PHRASES[bundle.first[0].occasion].single):
        # Readers copy it to their shell.
        commands = [single.format(shlex.quote(clean(bundle.first[0].reference)))]
    else:
        commands = list(dict.fromkeys(PHRASES[name].command for name in counts))
    lines += ["", *(f"jfr-mp -p {shlex.quote(project)} {command}" for command in commands)]
    lines += ["", f"Message {bundle.message} of the rule {bundle.rule}"]
    return f"[jfr-mp {project}] {told}", "\n".join(lines)


def _phrase(occasion: str, number: int) -> str:
    return PHRASES[occasion].one if number == 1 else PHRASES[occasion].many


def _line(notice: Notice) -> str:
    detail = " ".join(clean(notice.detail).split())[:_LONGEST_DETAIL]
    subject = " ".join(clean(notice.subject).split())[:_LONGEST_SUBJECT]
    return f"{subject}: {detail}" if detail else subject
