"""Shells that print text of their own around commands, on standard output and on standard error."""

from __future__ import annotations

from pathlib import Path

import pytest

from jfr_mp.errors import CommandTimeout, HostError
from jfr_mp.hosts import CommandResult
from tests.integration.hosts.conftest import MakeHost
from tests.support.sshd import Sshd

#: Text before a command, with and without an end of its line.
GREETING = (
    "echo 'Welcome to the cluster!'; echo 'Beware of the dog' >&2; printf 'no end of line'; printf 'nor here' >&2\n"
)
#: Text after a command; sshd starts bash, which reads ~/.bashrc although it runs a command.
FAREWELL = "trap 'echo Goodbye; echo Farewell: Read-only file system >&2' EXIT\n"


@pytest.fixture
def talking_sshd(own_sshd: Sshd) -> Sshd:
    """A server whose user has shell start-up files that print text before and after each command."""
    (own_sshd.home / ".bash_profile").write_text(f"{GREETING}export SITE=set\n")
    (own_sshd.home / ".bashrc").write_text(GREETING + FAREWELL)
    (own_sshd.home / ".bash_logout").write_text("echo logout; echo logout >&2\n")
    return own_sshd


@pytest.mark.parametrize("sanitize", [False, True])
def test_text_before_a_command_is_never_part_of_its_output(
    make_host: MakeHost, own_sshd: Sshd, tmp_path: Path, sanitize: bool
) -> None:
    # Given shell start-up files that print text
    for name in (".bash_profile", ".bashrc"):
        (own_sshd.home / name).write_text(f"{GREETING}export SITE=set\n")
    host = make_host(own_sshd, sanitize_command=sanitize)
    # Then no output of a command has it, and no file
    result = host.run_script('printf "<%s>" "$SITE"; printf err >&2; exit 3', cwd=tmp_path)
    assert result == CommandResult("<set>", "err", 3)
    host.deliver(tmp_path / "new" / "file", b"content")
    assert host.fetch(tmp_path / "new", {"file": 100}, tmp_path / "into") == []
    assert (tmp_path / "into" / "file").read_bytes() == b"content"


def test_text_after_a_command_is_removed_by_sanitize_command(
    make_host: MakeHost, talking_sshd: Sshd, tmp_path: Path
) -> None:
    # Given a worker without the option: it has that text
    plain = make_host(talking_sshd)
    result = plain.run_script('printf "<%s>" "$SITE"; printf err >&2; exit 3')
    assert result == CommandResult("<set>Goodbye\n", "errFarewell: Read-only file system\n", 3)
    # When the option is set, then the output is that of the command, to the last byte
    host = make_host(talking_sshd, sanitize_command=True)
    assert host.run_script('printf "<%s>" "$SITE"; printf err >&2; exit 3') == CommandResult("<set>", "err", 3)
    assert host.run(["cat"], stdin="no end", cwd=tmp_path) == CommandResult("no end", "", 0)
    assert host.run(["true"]) == CommandResult("", "", 0)
    host.deliver(tmp_path / "new" / "file", b"content")
    assert host.fetch(tmp_path / "new", {"file": 100}, tmp_path / "into") == []
    assert (tmp_path / "into" / "file").read_bytes() == b"content"


def test_errors_are_those_of_the_command(make_host: MakeHost, talking_sshd: Sshd, tmp_path: Path) -> None:
    # Given a shell whose last words would be taken for a permanent error
    host = make_host(talking_sshd, sanitize_command=True)
    # Then the reason is what the command has said
    (tmp_path / "file").touch()
    with pytest.raises(HostError, match="file/below: Not a directory"):
        host.mkdir(tmp_path / "file" / "below")
    with pytest.raises(HostError, match="nowhere: there is no such directory"):
        host.run(["true"], cwd=tmp_path / "nowhere")
    assert host.run(["no-such-command-here"]).returncode == 127
    # And a signal is reported as a shell does it
    assert host.run_script("kill -9 $$").returncode == 128 + 9
    # And what takes too long is killed
    with pytest.raises(CommandTimeout):
        host.run(["sleep", "60"], timeout=1)
    with pytest.raises(CommandTimeout):
        host.run_script("sleep 60 & sleep 60", timeout=1)
