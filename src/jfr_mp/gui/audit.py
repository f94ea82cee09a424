"""The audit log: who has done what and when, one JSON object per line."""

from __future__ import annotations

import json
import logging
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

#: Bytes at which the log is moved to ``audit.jsonl.1``.
_LARGE = 16 * 2**20


class Audit:
    """Writes the log of one project.

    Parameters
    ----------
    directory
        The directory of the file.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / "audit.jsonl"

    def write(self, user: str, address: str, action: str, **details: Any) -> None:
        """Write one line: a login, a refusal, or an action with what has become of it."""
        line = {"time": datetime.now(UTC).isoformat(), "user": user, "address": address, "action": action, **details}
        text = json.dumps(line, default=str) + "\n"
        if self._path.exists() and self._path.stat().st_size > _LARGE:
            self._path.replace(self._path.with_name("audit.jsonl.1"))
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            # One write, which other processes cannot tear.
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)
        logger.info("%s by %s: %s", action, user, details)
