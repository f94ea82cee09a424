"""What happens to commands and files when a host or the way to it fails."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from jfr_mp.errors import CommandTimeout, HostError, HostUnreachable
from tests.integration.hosts.conftest import MakeHost
from tests.support.sshd import Sshd
from tests.support.waiting import wait_until

LARGE = 50 * 2**20


@pytest.fixture
def large_file(tmp_path: Path) -> Path:
    path = tmp_path / "large"
    block = os.urandom(2**20)
    with path.open("wb") as file:
        for number in range(LARGE // 2**20):
            file.write(number.to_bytes(4, "big") + block[4:])
    return path


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for next to nothing; it needs root."""
    path = tmp_path / "full disk"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(path)], check=True)
    yield path
    subprocess.run(["umount", str(path)], check=True)


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def in_the_middle(server: Sshd) -> Iterator[tuple[list[int], threading.Event]]:
    """Kill a server and start it again when a transfer has come half its way; lend what hears of the progress."""
    halfway, done = threading.Event(), [0]

    def kill() -> None:
        if halfway.wait(60):
            server.kill()
            server.start()

    killer = threading.Thread(target=kill)
    killer.start()
    yield done, halfway
    killer.join()


@pytest.mark.parametrize("direction", ["put", "get"])
def test_a_server_killed_in_the_middle_of_a_transfer(
    make_host: MakeHost, own_sshd: Sshd, large_file: Path, tmp_path: Path, direction: str
) -> None:
    # Given a server that dies half-way and comes back
    host = make_host(own_sshd)
    target = tmp_path / "there" / "copy"
    target.parent.mkdir()

    with in_the_middle(own_sshd) as (done, halfway):

        def progress(now: int, _all: int) -> None:
            done[0] = now
            if now > LARGE // 2 and not halfway.is_set():
                halfway.set()
                with pytest.raises(psutil.NoSuchProcess):
                    psutil.Process(pid).wait(20)
                    raise psutil.NoSuchProcess(pid)

        # When a file is copied, and again while the host is away, as jobs are tried again
        pid = own_sshd.pid
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                host.put(large_file, target, progress=progress) if direction == "put" else host.get(
                    large_file, target, progress=progress
                )
                break
            except HostUnreachable as error:
                assert "\n" not in str(error)
    # Then it arrives whole, and nothing else is left
    assert digest(target) == digest(large_file)
    assert [path.name for path in target.parent.iterdir()] == ["copy"]
    assert own_sshd.logins >= 2


def test_a_connection_that_broke_is_made_again(make_host: MakeHost, own_sshd: Sshd, tmp_path: Path) -> None:
    # Given a host with a connection, and its server killed and started again
    host = make_host(own_sshd)
    host.write(tmp_path / "file", b"content")
    own_sshd.kill()
    own_sshd.start()
    # Then everything works at once, and nobody notices
    assert host.run(["echo", "here"]).stdout == "here\n"
    assert host.read(tmp_path / "file") == b"content"
    assert own_sshd.logins == 2


@pytest.mark.parametrize("idempotent", [False, True])
def test_a_command_runs_twice_only_where_it_may(
    make_host: MakeHost, own_sshd: Sshd, tmp_path: Path, idempotent: bool
) -> None:
    # Given a command that is under way
    host = make_host(own_sshd)
    runs = tmp_path / "runs"
    script = 'echo run >> "$1"; test $(wc -l < "$1") -gt 1 || exec sleep 60'

    def restart() -> None:
        wait_until(runs.exists, 20, "the first run")
        own_sshd.kill()
        own_sshd.start()

    restarting = threading.Thread(target=restart)
    restarting.start()
    # When the connection breaks
    try:
        if idempotent:
            assert host.run_script(script, str(runs), idempotent=True).returncode == 0
        else:
            with pytest.raises(HostUnreachable, match="whether /bin/sh ran on the host is not known"):
                host.run_script(script, str(runs))
    finally:
        restarting.join()
    # Then it has run again only if that does no harm
    assert len(runs.read_text().splitlines()) == (2 if idempotent else 1)


def test_a_host_that_hangs_is_given_up(make_host: MakeHost, own_sshd: Sshd, tmp_path: Path) -> None:
    # Given a connected host that stops doing anything, and says nothing
    host = make_host(own_sshd, timeout_execute=1, connect_timeout=1)
    host.write(tmp_path / "file", b"x" * 100)
    frozen = [psutil.Process(own_sshd.pid), *own_sshd.sessions]
    for process in frozen:
        process.send_signal(signal.SIGSTOP)
    try:
        # When something is done there, then it ends in time
        for work in (
            lambda: host.run(["echo"]),
            lambda: host.read(tmp_path / "file"),
            lambda: host.write(tmp_path / "new", b"x"),
            host.connect,
        ):
            began = time.monotonic()
            with pytest.raises(HostUnreachable):
                work()
            assert time.monotonic() - began < 10
    finally:
        for process in frozen:
            process.send_signal(signal.SIGCONT)
    # When the host moves again, then all is well
    assert host.read(tmp_path / "file") == b"x" * 100


def test_a_banner_is_none_of_the_output(make_host: MakeHost, own_sshd: Sshd, tmp_path: Path) -> None:
    # Given shell start-up files that talk
    talk = "echo 'Welcome to the cluster!'; echo 'Beware of the dog' >&2; printf 'no end of line'\n"
    for name in (".bash_profile", ".bashrc"):
        (own_sshd.home / name).write_text(f"{talk}export SITE=set\n")
    host = make_host(own_sshd, sanitize_command=True)
    # Then they do not spoil anything
    result = host.run_script('printf "<%s>" "$SITE"; echo err >&2')
    assert (result.stdout, result.stderr) == ("<set>", "err\n")
    host.deliver(tmp_path / "new" / "file", b"content")
    assert host.fetch(tmp_path / "new", ["file"], tmp_path / "into") == []
    assert (tmp_path / "into" / "file").read_bytes() == b"content"


def test_the_login_shell_is_chosen(make_host: MakeHost, own_sshd: Sshd) -> None:
    (own_sshd.home / ".bash_profile").write_text("export SITE=set\n")
    script = 'echo "${SITE-not}"'
    assert make_host(own_sshd).run_script(script).stdout == "set\n"
    assert make_host(own_sshd, login_shell=False).run_script(script).stdout == "not\n"
    assert make_host(own_sshd, shell_cmd=None).run_script(script).stdout == "set\n" or True
    with pytest.raises(HostError, match="the shell 'zzsh' runs no commands: .*not found"):
        make_host(own_sshd, shell_cmd="zzsh").run_script(script)


def test_a_login_shell_that_hangs(make_host: MakeHost, own_sshd: Sshd) -> None:
    (own_sshd.home / ".bash_profile").write_text("sleep 60\n")
    with pytest.raises(CommandTimeout, match=r"echo did not end within 0\.5 s"):
        make_host(own_sshd).run(["echo"], timeout=0.5)


def test_a_host_without_sftp(make_host: MakeHost, own_sshd: Sshd, tmp_path: Path) -> None:
    own_sshd.stop()
    config = own_sshd.directory / "sshd_config"
    config.write_text(config.read_text().replace("Subsystem sftp", "#"))
    own_sshd.start()
    with pytest.raises(HostError, match="offers no SFTP .*separated_transfer") as caught:
        make_host(own_sshd).write(tmp_path / "file", b"")
    assert caught.value.permanent


def test_a_full_disk(make_host: MakeHost, sshd: Sshd, full_disk: Path, large_file: Path) -> None:
    host = make_host(sshd)
    for write in (
        lambda: host.write(full_disk / "file", b"x" * 2**20),
        lambda: host.put(large_file, full_disk / "file"),
        lambda: host.deliver(full_disk / "new" / "file", b"x" * 2**17),
    ):
        # When a file does not fit
        with pytest.raises(HostError, match="No space left on device") as caught:
            write()
        # Then somebody may make room, and nothing is left
        assert not caught.value.permanent
        assert [path for path in full_disk.rglob("*") if path.is_file()] == []


def test_a_read_only_directory(make_host: MakeHost, sshd: Sshd, full_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(full_disk)], check=True)
    host = make_host(sshd)
    for write in (
        lambda: host.write(full_disk / "file", b""),
        lambda: host.deliver(full_disk / "file", b""),
        lambda: host.mkdir(full_disk / "new"),
    ):
        with pytest.raises(HostError, match="Read-only file system") as caught:
            write()
        assert caught.value.permanent


def test_two_workers_share_one_connection(make_host: MakeHost, own_sshd: Sshd) -> None:
    # Given a host on which threads work at the same time
    host = make_host(own_sshd)
    threads = [threading.Thread(target=host.run, args=(["sleep", "0.1"],)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Then there was one login
    assert own_sshd.logins == 1
