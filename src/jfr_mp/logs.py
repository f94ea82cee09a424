"""Logging of the runner's processes: one line per event, with time, level, role and pid."""

from __future__ import annotations

import json
import logging
import os
import sys
import unicodedata
import warnings
from datetime import UTC, datetime
from enum import StrEnum
from typing import TextIO

#: Categories of characters that control a terminal or cannot be written, and characters that reverse other text.
_HARMFUL = frozenset({"Cc", "Cs", "Zl", "Zp"})
_REVERSING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
#: The priorities of syslog, by the level of `logging` from which on they apply.
_PRIORITIES = {logging.CRITICAL: 2, logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6}


class LogFormat(StrEnum):
    """How entries are written: for people, for the collector of a container, or for the systemd journal."""

    TEXT = "text"
    JSON = "json"
    JOURNAL = "journal"

    @classmethod
    def fitting(cls, stream: TextIO) -> LogFormat:
        """Return the format for a stream: JOURNAL if systemd reads it, else TEXT."""
        try:
            status = os.fstat(stream.fileno())
        except OSError:
            return cls.TEXT
        read_by_systemd = os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
        return cls.JOURNAL if read_by_systemd else cls.TEXT

    @property
    def stream(self) -> TextIO:
        """The stream to which a process in the foreground writes in this format."""
        return sys.stdout if self is LogFormat.JSON else sys.stderr


def as_journal_lines(text: str, level: int) -> str:
    """Return a text with the priority before each of its lines, from which the journal takes it (sd-daemon(3))."""
    priority = next((number for least, number in _PRIORITIES.items() if level >= least), 7)
    return "\n".join(f"<{priority}>{line}" for line in text.split("\n"))


def clean(text: str) -> str:
    """Return a text without the characters that would control a terminal; line feeds and tabs stay.

    Names, errors and outputs come from users, workers and schedulers. All that is shown or logged passes through here.
    """
    if text.isprintable():
        return text
    return "".join("\N{REPLACEMENT CHARACTER}" if _is_harmful(character) else character for character in text)


def counted(number: int, thing: str) -> str:
    """Return a number of things in words, such as ``1 batch`` and ``2 batches``."""
    if thing.endswith(("s", "sh", "ch", "x")):
        plural = f"{thing}es"
    else:
        plural = f"{thing[:-1]}ies" if thing.endswith("ry") else f"{thing}s"
    return f"{number} {thing if number == 1 else plural}"


def _is_harmful(character: str) -> bool:
    if character in "\n\t":
        return False
    return character in _REVERSING or unicodedata.category(character) in _HARMFUL


class _CleanFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return clean(super().format(record))


class _JournalFormatter(_CleanFormatter):
    def format(self, record: logging.LogRecord) -> str:
        return as_journal_lines(super().format(record), record.levelno)


class _JsonFormatter(logging.Formatter):
    def __init__(self, process: str) -> None:
        super().__init__("%(message)s")
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(
            {
                "time": datetime.fromtimestamp(record.created, UTC).astimezone().isoformat(timespec="milliseconds"),
                "level": record.levelname.lower(),
                "process": self._process,
                "pid": record.process,
                "logger": record.name,
                "message": clean(super().format(record)),
            }
        )


def _formatter(log_format: LogFormat, process: str) -> logging.Formatter:
    line = f"{process.replace('%', '%%')} %(process)d %(name)s: %(message)s"
    match log_format:
        case LogFormat.JSON:
            return _JsonFormatter(process)
        case LogFormat.JOURNAL:  # which knows the time and the level
            return _JournalFormatter(line)
        case LogFormat.TEXT:
            return _CleanFormatter(f"%(asctime)s [%(levelname)s] {line}")


def configure(level: int, role: str, log_format: LogFormat = LogFormat.TEXT) -> None:
    """Send the logs of this process to its standard error, or as JSON to its standard output.

    Parameters
    ----------
    level
        A level of `logging`.
    role
        The name of this process, such as ``transfer-1``.
    log_format
        How entries are written.
    """
    handler = logging.StreamHandler(log_format.stream)
    handler.setFormatter(_formatter(log_format, role))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.WARNING))
    set_level(level)
    logging.captureWarnings(capture=True)
    warnings.simplefilter("ignore", DeprecationWarning)
    warnings.simplefilter("ignore", PendingDeprecationWarning)


def set_level(level: int) -> None:
    """Set the log level of jfr-mp itself; libraries log warnings only."""
    logging.getLogger("jfr_mp").setLevel(level)
