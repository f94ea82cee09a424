"""How an error reaches the user: one clear message on stderr and an exit code."""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from jfr_mp.errors import ExitCode, JfrMpError

FULL_EXC = "JFREMOTE_CLI_FULL_EXC"


def complain(error: Exception, *, with_traceback: bool) -> int:
    """Print an error to stderr.

    Parameters
    ----------
    error
        Whatever stopped the command. One that is neither of our own tree nor of the operating system is a bug, and
        the message says so.
    with_traceback
        Print the traceback before the message.

    Returns
    -------
    int
        The exit code of the command.
    """
    if with_traceback:
        typer.echo("".join(traceback.format_exception(error)).rstrip(), err=True)
    if isinstance(error, JfrMpError):
        _print_error(str(error) or (type(error).__doc__ or type(error).__name__))
        return error.exit_code
    if isinstance(error, OSError):
        _print_error(str(error))
    else:
        _print_error(f"unexpected {type(error).__name__}: {error}\nThis is a bug in jfr-mp.")
    if not with_traceback:
        typer.echo(f"To see the traceback, repeat with `jfr-mp -fe ...` or with {FULL_EXC}=1.", err=True)
    return ExitCode.ERROR


def warn(message: str) -> None:
    """Print something that the user should know, and that does not stop the command, to stderr."""
    typer.secho("Warning: ", fg="yellow", err=True, nl=False)
    typer.echo(message, err=True)


@contextmanager
def warnings_shown() -> Iterator[None]:
    """Show the user what the code below warns of."""
    handler = _Warnings(logging.WARNING)
    ours = logging.getLogger("jfr_mp")
    ours.addHandler(handler)
    try:
        yield
    finally:
        ours.removeHandler(handler)


class _Warnings(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        warn(record.getMessage())


def show_tracebacks() -> None:
    """Make every later complaint of this process show its traceback: the option is the setting."""
    os.environ[FULL_EXC] = "1"


def wants_traceback() -> bool:
    """Tell whether the user's settings ask for tracebacks; settings that cannot be read ask for nothing."""
    from jfr_mp.config import get_settings

    try:
        return get_settings().cli_full_exc
    except JfrMpError:
        return os.environ.get(FULL_EXC) == "1"


def _print_error(text: str) -> None:
    typer.secho("Error: ", fg="red", bold=True, err=True, nl=False)
    typer.echo(text, err=True)
