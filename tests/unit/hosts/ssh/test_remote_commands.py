from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil
import pytest

from jfr_mp.errors import CommandTimeout, HostError, HostUnreachable
from jfr_mp.hosts.ssh.interface import Output
from jfr_mp.hosts.ssh.link import Link
from jfr_mp.hosts.ssh.remote_commands import RemoteCommands, ShellOptions
from tests.support.waiting import wait_until

#: A shell that prints text of its own before each command.
TALKING = "echo Welcome; echo Beware >&2; bash"


@pytest.fixture(params=[False, True], ids=["", "sanitize"])
def commands(request: pytest.FixtureRequest, link: Link) -> RemoteCommands:
    return RemoteCommands(link, ShellOptions(TALKING, login=False, sanitize=request.param))


@pytest.mark.parametrize("plain", [False, True])
def test_the_output_is_that_of_the_command(commands: RemoteCommands, tmp_path: Path, plain: bool) -> None:
    argv = ["sh", "-c", 'pwd; cat; printf "%s" "$1" >&2; exit 3', "sh", "it's $HOME"]
    done = commands.execute(argv, cwd=tmp_path, stdin=b"no end", plain=plain)
    assert done == Output(f"{tmp_path}\nno end".encode(), b"it's $HOME", 3)


def test_text_after_the_command_is_removed_if_the_option_says_so(link: Link) -> None:
    shell = "trap 'echo Goodbye; echo Farewell >&2' EXIT; sh"
    plain = RemoteCommands(link, ShellOptions(shell, login=False))
    assert plain.execute(["echo", "in"]) == Output(b"in\nGoodbye\n", b"Farewell\n", 0)
    sanitized = RemoteCommands(link, ShellOptions(shell, login=False, sanitize=True))
    assert sanitized.execute(["echo", "in"]) == Output(b"in\n", b"", 0)


@pytest.mark.parametrize(("sanitize", "status"), [(False, -1), (True, 128 + 9)])
def test_a_killed_command(link: Link, sanitize: bool, status: int) -> None:
    commands = RemoteCommands(link, ShellOptions(None, sanitize=sanitize))
    assert commands.execute(["sh", "-c", "kill -9 $$"]).returncode == status


def test_a_command_that_is_missing(commands: RemoteCommands) -> None:
    done = commands.execute(["no-such-command-here"])
    assert done.returncode == 127
    assert b"no-such-command-here" in done.stderr


@pytest.mark.parametrize("inline", [False, True])
def test_the_environment(link: Link, inline: bool) -> None:
    commands = RemoteCommands(link, ShellOptions(None, environment={"A": "it's b"}, inline=inline))
    assert commands.execute(["printenv", "A"]).stdout == b"it's b\n"


def test_a_directory_that_is_missing(commands: RemoteCommands, tmp_path: Path) -> None:
    with pytest.raises(HostError, match=r"here: cannot run true in .*/nowhere: there is no such directory"):
        commands.execute(["true"], cwd=tmp_path / "nowhere")


def test_a_shell_that_is_missing(link: Link) -> None:
    with pytest.raises(HostError, match="here: the shell 'zzsh' runs no commands: command not found"):
        RemoteCommands(link, ShellOptions("zzsh")).execute(["true"])


def test_a_command_that_takes_too_long_is_killed(commands: RemoteCommands, tmp_path: Path) -> None:
    with pytest.raises(CommandTimeout, match="here: sh did not end within 1 s"):
        commands.execute(["sh", "-c", f"echo $$ > {tmp_path}/pid; sleep 60 & wait"], timeout=1)
    pid = int((tmp_path / "pid").read_text())
    wait_until(lambda: not psutil.pid_exists(pid), 10, "the end of the command")


def test_a_shell_that_hangs(link: Link) -> None:
    commands = RemoteCommands(link, ShellOptions("exec sleep 1; sh", login=False))
    with pytest.raises(CommandTimeout, match="did not start; a start-up file may hang"):
        commands.execute(["true"], timeout=0.1)


def test_a_command_that_may_run_twice(link: Link, breaks: Any) -> None:
    commands = RemoteCommands(link, ShellOptions(None))
    breaks.left = 1
    assert commands.execute(["echo", "in"], idempotent=True).stdout == b"in\n"
    breaks.left = 1
    with pytest.raises(HostUnreachable, match="whether sbatch ran on the host is not known"):
        commands.execute(["sbatch"])
