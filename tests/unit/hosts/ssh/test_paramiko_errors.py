from __future__ import annotations

import errno

import pytest
from paramiko import SFTPError
from paramiko.ssh_exception import ChannelException, SSHException

from jfr_mp.hosts.ssh.interface import ConnectionBroken
from jfr_mp.hosts.ssh.paramiko_errors import is_refusal, one_line, translated


@pytest.mark.parametrize(
    "error",
    [
        EOFError(),
        SSHException("lost"),
        SFTPError("garbage"),
        ConnectionResetError("reset"),
        TimeoutError(),
        OSError("Socket is closed"),
    ],
    ids=repr,
)
def test_errors_of_the_connection(error: Exception) -> None:
    with pytest.raises(ConnectionBroken) as caught, translated(lambda: True):
        raise error
    assert str(caught.value)


@pytest.mark.parametrize("error", [FileNotFoundError(errno.ENOENT, "x"), OSError("Failure")], ids=repr)
def test_errors_about_files(error: OSError) -> None:
    with pytest.raises(OSError, match=str(error.args[-1])) as caught, translated(lambda: True):
        raise error
    assert caught.value is error
    # Unless the connection is gone
    with pytest.raises(ConnectionBroken), translated(lambda: False):
        raise error


def test_refusals() -> None:
    assert is_refusal(ChannelException(2, "Connect failed"))
    assert is_refusal(SSHException("Unable to open channel."))
    assert not is_refusal(SSHException("SSH session not active"))


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(errno.ECONNREFUSED, "Connection refused"), "Connection refused"),
        (SSHException("first\nsecond"), "first"),
        (EOFError(), "EOFError"),
    ],
)
def test_one_line_about_an_error(error: Exception, text: str) -> None:
    assert one_line(error) == text
