"""What happens to commands and files when a host or the way to it fails."""

from __future__ import annotations

import hashlib
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jfr_mp.errors import CommandTimeout, HostError, HostUnreachable
from jfr_mp.hosts.base import Progress
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


@pytest.mark.parametrize("direction", ["put", "get"])
def test_a_server_killed_in_the_middle_of_a_transfer(
    make_host: MakeHost, own_sshd: Sshd, large_file: Path, tmp_path: Path, direction: str
) -> None:
    # Given a server that dies half-way
    host = make_host(own_sshd)
    target = tmp_path / "there" / "copy"
    target.parent.mkdir()

    def die_half_way(done: int, _all: int) -> None:
        if done > LARGE // 2:
            own_sshd.kill()

    def copy(progress: Progress | None = None) -> None:
        if direction == "put":
            host.put(large_file, target, progress=progress)
        else:
            host.get(large_file, target, progress=progress)

    # When a file is copied, then the error says that the host is away
    with pytest.raises(HostUnreachable):
        copy(die_half_way)
    assert not target.exists()
    # When the server is back and the job is retried
    own_sshd.start()
    copy()
    # Then the file is there, whole, and nothing else is left
    assert digest(target) == digest(large_file)
    assert [path.name for path in target.parent.iterdir()] == ["copy"]


def test_a_transfer_goes_on_after_the_connection_broke(
    make_host: MakeHost, own_sshd: Sshd, large_file: Path, tmp_path: Path
) -> None:
    # Given a connection that breaks once on the way there and once on the way back
    host = make_host(own_sshd)
    breaks = 0

    def break_once(done: int, _all: int) -> None:
        nonlocal breaks
        if breaks < limit and done > LARGE // 2:
            breaks += 1
            own_sshd.break_connections()

    # Then nobody notices
    limit = 1
    host.put(large_file, tmp_path / "there", progress=break_once)
    limit = 2
    host.get(tmp_path / "there", tmp_path / "back", progress=break_once)
    assert breaks == 2
    assert digest(tmp_path / "back") == digest(large_file)
    assert not list(tmp_path.glob(".*.part"))


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

    def break_connection() -> None:
        wait_until(lambda: runs.exists() and runs.read_text(), 20, "the first run")
        own_sshd.break_connections()

    breaking = threading.Thread(target=break_connection)
    breaking.start()
    # When the connection breaks
    try:
        if idempotent:
            assert host.run_script(script, str(runs), idempotent=True).returncode == 0
        else:
            with pytest.raises(HostUnreachable, match="whether /bin/sh ran on the host is not known"):
                host.run_script(script, str(runs))
    finally:
        breaking.join()
    # Then it has run again only if that does no harm
    assert len(runs.read_text().splitlines()) == (2 if idempotent else 1)


@pytest.mark.timing
def test_a_host_that_hangs_is_given_up(make_host: MakeHost, own_sshd: Sshd, tmp_path: Path) -> None:
    # Given a connected host that stops doing anything, and says nothing
    host = make_host(own_sshd, timeout_execute=1, connect_timeout=1)
    host.write(tmp_path / "file", b"x" * 100)
    with own_sshd.hanging():
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
    # When the host moves again, then all is well
    assert host.read(tmp_path / "file") == b"x" * 100


def test_the_login_shell_is_chosen(make_host: MakeHost, own_sshd: Sshd) -> None:
    (own_sshd.home / ".bash_profile").write_text("export SITE=set\n")
    script = 'echo "${SITE-not}"'
    assert make_host(own_sshd).run_script(script).stdout == "set\n"
    assert make_host(own_sshd, login_shell=False).run_script(script).stdout == "not\n"
    assert make_host(own_sshd, shell_cmd=None).run_script(script).stdout == "not\n"
    with pytest.raises(HostError, match=r"the shell 'zzsh' runs no commands: .*not found"):
        make_host(own_sshd, shell_cmd="zzsh").run_script(script)


def test_a_login_shell_that_hangs(make_host: MakeHost, own_sshd: Sshd) -> None:
    (own_sshd.home / ".bash_profile").write_text("sleep 60\n")
    with pytest.raises(CommandTimeout, match=r"within 0\.5 s: the shell 'bash' did not start"):
        make_host(own_sshd).run(["echo"], timeout=0.5)


def test_a_host_without_sftp(make_host: MakeHost, own_sshd: Sshd, tmp_path: Path) -> None:
    own_sshd.stop()
    config = own_sshd.directory / "sshd_config"
    config.write_text(config.read_text().replace("Subsystem sftp", "#"))
    own_sshd.start()
    with pytest.raises(HostError, match=r"offers no SFTP .*separated_transfer") as caught:
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
