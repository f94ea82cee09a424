"""Logging of the runner's processes: one line per event, with time, level, role and pid."""

from __future__ import annotations

import logging
import sys
import unicodedata
import warnings

#: Categories of characters that control a terminal or cannot be written, and characters that reverse other text.
_HARMFUL = frozenset({"Cc", "Cs", "Zl", "Zp"})
_REVERSING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def clean(text: str) -> str:
    """Return a text without the characters that would control a terminal; line feeds and tabs stay.

    Names, errors and outputs come from users, workers and schedulers. All that is shown or logged passes through here.
    """
    if text.isprintable():
        return text
    return "".join("\N{REPLACEMENT CHARACTER}" if _is_harmful(character) else character for character in text)


def _is_harmful(character: str) -> bool:
    if character in "\n\t":
        return False
    return character in _REVERSING or unicodedata.category(character) in _HARMFUL


class _CleanFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return clean(super().format(record))


def configure(level: int, role: str) -> None:
    """Send the logs of this process to its standard error.

    Parameters
    ----------
    level
        A level of `logging`.
    role
        The name of this process, such as ``transfer-1``.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _CleanFormatter(f"%(asctime)s [%(levelname)s] {role} %(process)d %(name)s: %(message)s".replace("%%", "%"))
    )
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
