"""Logging of the runner's processes: one line per event, with time, level, role and pid."""

from __future__ import annotations

import logging
import sys
import warnings


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
        logging.Formatter(f"%(asctime)s [%(levelname)s] {role} %(process)d %(name)s: %(message)s".replace("%%", "%"))
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
