"""Reading the log of mongod to explain why it is not running.

Since MongoDB 4.4 each line is a JSON object with the severity `s` (E and F are errors), the text `msg` and its details
`attr`. The storage engine nests its own message in the details.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

_ERRORS = ("E", "F")
#: The maximum number of characters of one line in an error message.
_LINE_LIMIT = 400


def summary(lines: Iterable[str]) -> str:
    """Return the first three errors among the lines of a log, or its last three lines if there are no errors.

    The first errors are the most useful, because the cause precedes its consequences.
    """
    errors: list[str] = []
    others: list[str] = []
    for line in lines:
        entry = _entry(line)
        (errors if entry.get("s") in _ERRORS else others).append(_text(entry) or line)
    chosen = errors[:3] or others[-3:]
    return "\n".join(line[:_LINE_LIMIT] for line in chosen)


def _entry(line: str) -> dict[str, Any]:
    """Return a line as an object; an empty one if it is not a JSON object, for example because it is truncated."""
    try:
        entry = json.loads(line)
    except ValueError:
        return {}
    return entry if isinstance(entry, dict) else {}


def _text(entry: dict[str, Any]) -> str:
    """Return the message of an entry for the user; empty if it has none."""
    details = entry.get("attr") or {}
    nested = details.get("message")
    if isinstance(nested, dict):
        return f"{nested.get('msg')}: {nested.get('error_str')}"
    return " ".join([entry.get("msg", ""), json.dumps(details) if details else ""]).strip()
