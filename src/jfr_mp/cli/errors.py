"""How an error, a warning or the log reaches the user: on standard error, and errors as an exit code too."""

from __future__ import annotations

import logging
import os
import sys
import traceback

import typer

from jfr_mp.cli.printing import styled
from jfr_mp.errors import ExitCode, JfrMpError
from jfr_mp.logs import clean

FULL_EXC = "JFREMOTE_CLI_FULL_EXC"

#: The maximum number of characters of an unexpected error: some contain whole documents.
_LONGEST = 500
#: What a message begins with, and in which style.
_STYLES = {"Error": "bold red", "Warning": "yellow", "Info": "dim", "Debug": "dim"}


def report(error: Exception, *, with_traceback: bool) -> int:
    """Print an error to standard error.

    Parameters
    ----------
    error
        What stopped the command. An error that is neither in the tree of `jfr_mp.errors` nor one of the operating
        system is a bug, and the message says so.
    with_traceback
        Whether to print the traceback before the message.

    Returns
    -------
    int
        The exit code of the command.
    """
    if with_traceback:
        typer.echo(clean("".join(traceback.format_exception(error)).rstrip()), err=True)
    if isinstance(error, JfrMpError):
        say("Error", str(error) or (type(error).__doc__ or type(error).__name__))
        return error.exit_code
    if isinstance(error, OSError):
        say("Error", str(error))
    else:
        text = str(error)
        shown = text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."
        say("Error", f"unexpected {type(error).__name__}: {shown}\nThis is a bug in jfr-mp.")
    if not with_traceback:
        typer.echo(f"To see the traceback, repeat with `jfr-mp -fe ...` or with {FULL_EXC}=1.", err=True)
    return ExitCode.ERROR


def warn(message: str) -> None:
    """Print a message that does not stop the command to standard error."""
    say("Warning", message)


def say(kind: str, text: str) -> None:
    """Print a message of a kind, such as ``Warning``, to standard error."""
    typer.echo(f"{styled(f'{kind}:', _STYLES[kind], sys.stderr)} {clean(text)}", err=True)


def show_log() -> None:
    """Show what jfr-mp logs in this process on standard error, from the level that the user's settings name.

    A command that becomes a process of the runner configures its log itself, and this one is gone.
    """
    handler = _LogHandler()
    handler.addFilter(logging.Filter("jfr_mp"))
    logging.getLogger().handlers[:] = [handler]
    logging.getLogger("jfr_mp").setLevel(_log_level())


class _LogHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        kind = record.levelname.capitalize()
        say(kind if kind in _STYLES else "Error", record.getMessage())


def show_tracebacks() -> None:
    """Have every error that is reported later show its traceback: the option does what the setting does."""
    os.environ[FULL_EXC] = "1"


def wants_traceback() -> bool:
    """Return whether the user's settings ask for tracebacks; settings that cannot be read do not."""
    from jfr_mp.config import get_settings

    try:
        return get_settings().cli_full_exc
    except JfrMpError:
        return os.environ.get(FULL_EXC) == "1"


def _log_level() -> int:
    from jfr_mp.config import get_settings

    try:
        return get_settings().cli_log_level.to_logging()
    except JfrMpError:  # the command fails by itself if it needs the settings
        return logging.WARNING
