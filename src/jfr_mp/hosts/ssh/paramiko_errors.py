"""The errors of paramiko, which has many ways to say that a connection is gone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from paramiko import SFTPError
from paramiko.ssh_exception import ChannelException, SSHException

from jfr_mp.hosts.ssh.interface import ConnectionBroken


@contextmanager
def translated(is_open: Callable[[], bool]) -> Iterator[None]:
    """Raise ConnectionBroken for errors of the connection; other OSErrors, which are about a file, pass through.

    Parameters
    ----------
    is_open
        Whether the connection, or the channel, still works.
    """
    try:
        yield
    except (EOFError, SSHException, SFTPError, ConnectionError, TimeoutError) as error:
        raise ConnectionBroken(str(error) or "the host closed it") from error
    except OSError as error:
        # paramiko raises a bare OSError with this text for a channel that is gone.
        if is_open() and str(error) != "Socket is closed":
            raise
        raise ConnectionBroken(str(error)) from error


def is_refusal(error: SSHException) -> bool:
    """Whether the host has refused a session, provided that the connection is alive."""
    # If several are refused at the same time, paramiko gives the reason to one and this text to the others.
    return isinstance(error, ChannelException) or str(error) == "Unable to open channel."


def one_line(error: BaseException) -> str:
    """Return one line about an error."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
