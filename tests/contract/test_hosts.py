"""What every host has to do. A new host is one more value of the fixture."""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from jfr_mp.config.workers import LocalWorker, RemoteWorker, SeparatedTransferWorker, WorkerBase
from jfr_mp.errors import CommandTimeout, HostError
from jfr_mp.hosts import BaseHost, CommandResult, host_of
from tests.support.sshd import Gateway, Namespace, Sshd, running
from tests.support.waiting import wait_until

HOSTS = ["local", "ssh", "gateway", "separated"]


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    yield from running(Sshd(tmp_path_factory.mktemp("sshd") / "login"))


@pytest.fixture(scope="session")
def transfer_sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """A server that offers files and no commands, as transfer nodes do."""
    server = Sshd(tmp_path_factory.mktemp("sshd") / "transfer")
    with (server.directory / "sshd_config").open("a") as config:
        config.write("ForceCommand internal-sftp\n")
    yield from running(server)


@pytest.fixture(scope="session")
def behind_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Gateway, Sshd]]:
    directory = tmp_path_factory.mktemp("sshd")
    namespace = Namespace()
    gateway, inner = Gateway(directory / "gateway", namespace), Sshd(directory / "inner", prefix=namespace.enter)
    try:
        gateway.start()
        inner.start()
        yield gateway, inner
    finally:
        inner.stop()
        gateway.stop()
        namespace.close()


@pytest.fixture(params=HOSTS)
def worker(request: pytest.FixtureRequest, tmp_path: Path) -> WorkerBase:
    """A worker on a host of each kind."""
    if request.param == "local":
        return LocalWorker(scheduler_type="shell", work_dir=tmp_path)
    if request.param == "gateway":
        gateway, inner = request.getfixturevalue("behind_gateway")
        return RemoteWorker.model_validate(inner.worker(tmp_path, gateway=gateway.address))
    fields = request.getfixturevalue("sshd").worker(tmp_path)
    if request.param == "ssh":
        return RemoteWorker.model_validate(fields)
    transfer = request.getfixturevalue("transfer_sshd").address
    return SeparatedTransferWorker.model_validate({**fields, "type": "separated_transfer", "transfer": transfer})


@pytest.fixture
def host(worker: WorkerBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BaseHost]:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    host = host_of(worker, tmp_path / "project")
    host.connect()
    assert host.is_connected
    yield host
    host.close()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory whose name needs quoting everywhere."""
    path = tmp_path / 'it\'s a "dir" $(touch x) é\nü'
    path.mkdir()
    return path


def test_arguments_arrive_as_they_are(host: BaseHost) -> None:
    words = ["relax (1); touch x", "$(id)", "it's", "a\nb", "", "é"]
    code = "import sys; sys.stdout.write(repr(sys.argv[1:]))"
    assert host.run([sys.executable, "-c", code, *words]) == CommandResult(repr(words), "", 0)
    assert host.run_script('for word; do printf "%s|" "$word"; done', *words).stdout == "|".join(words) + "|"


def test_a_command_has_its_directory_its_input_and_its_result(host: BaseHost, directory: Path) -> None:
    result = host.run(["/bin/sh", "-c", "pwd; cat; echo bad >&2; exit 3"], cwd=directory, stdin="text é")
    assert result == CommandResult(f"{directory}\ntext é", "bad\n", 3)


def test_what_is_no_utf8_does_not_disturb(host: BaseHost) -> None:
    assert host.run_script(r"printf '\377ok'").stdout == "\ufffdok"


def test_a_missing_command_is_a_result(host: BaseHost) -> None:
    result = host.run(["no-such-command-here"])
    assert result.returncode == 127
    assert "no-such-command-here" in result.stderr


def test_a_missing_directory_is_an_error(host: BaseHost, tmp_path: Path) -> None:
    with pytest.raises(HostError, match="nowhere: there is no such directory"):
        host.run(["true"], cwd=tmp_path / "nowhere")


@pytest.mark.timing
def test_a_command_that_hangs_is_given_up(host: BaseHost) -> None:
    # When a command and its child do not end
    began = time.monotonic()
    with pytest.raises(CommandTimeout, match=r"did not end within 0\.2 s"):
        host.run_script("sleep 60 & sleep 60", timeout=0.2)
    # Then nobody waits for them
    assert time.monotonic() - began < 10


def test_what_took_too_long_is_ended(host: BaseHost, tmp_path: Path) -> None:
    # Given a command that says which process it is
    script = f"echo $$ > '{tmp_path}/pid'; sleep 60 & wait"
    # When it takes too long
    with pytest.raises(CommandTimeout):
        host.run_script(script, timeout=1)
    # Then it is gone
    pid = int((tmp_path / "pid").read_text())
    wait_until(lambda: not psutil.pid_exists(pid), 10, "the end of the command")


def test_a_killed_command_is_a_result(host: BaseHost) -> None:
    assert host.run_script("kill -9 $$").returncode < 0


def test_much_input_and_output_pass_at_the_same_time(host: BaseHost) -> None:
    text = "0123456789abcde\n" * 2**17
    assert host.run(["cat"], stdin=text) == CommandResult(text, "", 0)


def test_threads_share_a_host(host: BaseHost, directory: Path) -> None:
    # When many threads work with one host at the same time
    results: dict[int, object] = {}

    def work(number: int) -> None:
        host.write(directory / str(number), b"%d" % number)
        results[number] = (host.run(["echo", str(number)]).stdout, host.read(directory / str(number)))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Then each gets what it asked for
    assert results == {number: (f"{number}\n", b"%d" % number) for number in range(12)}


def test_commands_of_threads_run_together(host: BaseHost, directory: Path) -> None:
    with ThreadPoolExecutor(20) as threads:
        inputs = [f"{number}\n" * number for number in range(20)]
        results = list(threads.map(lambda text: host.run_together(["cat"], cwd=directory, stdin=text), inputs))
    assert results == [CommandResult(text, "", 0) for text in inputs]
    with pytest.raises(HostError, match="nowhere: there is no such directory"):
        host.run_together(["true"], cwd=directory / "nowhere")


def test_a_file_is_delivered_where_there_was_no_directory(host: BaseHost, directory: Path) -> None:
    # Given a directory with what an earlier run left
    run_dir = directory / "a b" / "run"
    run_dir.mkdir(parents=True)
    (run_dir / "out'put").touch()
    # When a file is delivered there, and to a directory that does not exist
    host.deliver(run_dir / "in", b"new\0", instead_of=["out'put", "nothing"])
    host.deliver(directory / "c" / "-f", b"")
    # Then the files are there, and nothing of the earlier run
    assert (run_dir / "in").read_bytes() == b"new\0"
    assert not (run_dir / "out'put").exists()
    assert (directory / "c" / "-f").read_bytes() == b""


@pytest.mark.parametrize("mode", [0o700, 0o770])
def test_a_new_directory_has_its_mode_and_those_above_it_are_usual(
    host: BaseHost, directory: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    monkeypatch.setattr(host, "directory_mode", mode)
    host.deliver(directory / "d" / "e" / "in", b"x")
    host.mkdir(directory / "f" / "g")
    (directory / "old").mkdir(mode=0o711)
    host.deliver(directory / "old" / "in", b"x")
    modes = {name: (directory / name).stat().st_mode & 0o777 for name in ("d/e", "f/g", "old")}
    assert modes == {"d/e": mode, "f/g": mode, "old": 0o711}
    assert (directory / "d").stat().st_mode & 0o055 == 0o055


@pytest.mark.parametrize("size", [0, 1, 2**18, 3 * 2**20 + 7])
def test_files_are_copied_there_and_back(host: BaseHost, directory: Path, tmp_path: Path, size: int) -> None:
    # Given a file of this machine
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    (tmp_path / "source").write_bytes(content)
    # When it is copied to the host and back
    reports: list[tuple[int, int]] = []
    host.put(tmp_path / "source", directory / "copy", progress=lambda *report: reports.append(report))
    host.get(directory / "copy", tmp_path / "back", progress=lambda *report: reports.append(report))
    host.deliver(directory / "new" / "copy", content)
    missing = host.fetch(directory, {"copy": 2**30, "nothing": 1}, tmp_path / "into")
    # Then it is what it was, everywhere
    assert missing == ["nothing"]
    for path in (directory / "copy", tmp_path / "back", directory / "new" / "copy", tmp_path / "into" / "copy"):
        assert path.read_bytes() == content
    assert host.read(directory / "copy") == content
    assert size == 0 or reports[-1] == (size, size)


def test_several_files_are_fetched(host: BaseHost, directory: Path, tmp_path: Path) -> None:
    # Given small files, a large one and one that is gone since the last time
    contents = {"a b": b"1\n.\n-\n", "-n": b"", "large": b"y" * 2**19, "é": b"\xff"}
    for name, content in contents.items():
        (directory / name).write_bytes(content)
    into = tmp_path / "in to"
    into.mkdir()
    (into / "gone").touch()
    # When they are fetched
    assert host.fetch(directory, dict.fromkeys(["gone", *contents, "none"], 2**20), into) == ["gone", "none"]
    # Then they are here
    assert {path.name: path.read_bytes() for path in into.iterdir()} == contents


@pytest.mark.parametrize("kind", ["fifo", "link", "directory"])
def test_only_regular_files_are_read(host: BaseHost, directory: Path, tmp_path: Path, kind: str) -> None:
    # Given what a job put in the place of a file
    path = directory / "file"
    secret = tmp_path / "secret"
    secret.write_text("password")
    {"fifo": os.mkfifo, "link": lambda path: path.symlink_to(secret), "directory": Path.mkdir}[kind](path)
    # When it is read in any way
    ways: list[Callable[[], object]] = [
        lambda: host.read(path),
        lambda: host.read_from(path, 0),
        lambda: host.get(path, tmp_path / "copy"),
        lambda: host.fetch(directory, {"file": 2**20}, tmp_path / "into"),
    ]
    for way in ways:
        # Then that is a permanent error, at once, and nothing was copied
        with pytest.raises(HostError, match=f"{re.escape(str(path))}.* not a regular file") as caught:
            way()
        assert caught.value.permanent
    assert not (tmp_path / "copy").exists()
    assert not (tmp_path / "into" / "file").exists()


def test_a_file_over_its_limit_is_not_copied(host: BaseHost, directory: Path, tmp_path: Path) -> None:
    # Given a sparse file of 10 GB, and a text of a megabyte
    with (directory / "sparse").open("wb") as file:
        file.truncate(10 * 2**30)
    (directory / "text").write_bytes(b"first" + b"." * 2**20 + b"last")
    # When the first is read, then that is a permanent error
    for way in (
        lambda: host.read(directory / "sparse", limit=100),
        lambda: host.get(directory / "sparse", tmp_path / "copy", limit=100),
        lambda: host.fetch(directory, {"sparse": 2**20}, tmp_path / "into"),
    ):
        with pytest.raises(HostError, match=r"sparse: it has .* MB or more") as caught:
            way()
        assert caught.value.permanent
    assert host.read_from(directory / "sparse", 2**30, limit=3) == bytes(3)
    # And of the second one, the beginning and the end are enough if the caller says so
    assert host.fetch(directory, {"text": 2**20}, tmp_path / "into", excerpts=["text"]) == []
    excerpt = (tmp_path / "into" / "text").read_bytes()
    assert (excerpt[:5], excerpt[-4:], len(excerpt)) == (b"first", b"last", 2**18)


def test_nothing_can_be_fetched_from_nowhere(host: BaseHost, tmp_path: Path) -> None:
    assert host.fetch(tmp_path / "nowhere", {"a": 1, "b": 1}, tmp_path / "into") == ["a", "b"]


def test_a_growing_file_is_read_on(host: BaseHost, directory: Path) -> None:
    path = directory / "growing"
    assert host.read_on(path, 0, limit=9) == (0, b"")
    path.write_bytes(b"")
    assert host.read_on(path, 0, limit=9) == (0, b"")
    path.write_bytes(b"one two")
    assert host.read_on(path, 4, limit=9) == (7, b"two")
    assert host.read_on(path, 0, limit=3) == (7, b"one")
    assert host.read_on(path, 7, limit=9) == (7, b"")
    # It has become another one, as when a journal is rotated
    path.write_bytes(b"new")
    assert host.read_on(path, 7, limit=9) == (3, b"")


def test_files_are_written_read_and_removed(host: BaseHost, directory: Path) -> None:
    path = directory / "new" / "er" / "file"
    host.mkdir(path.parent)
    host.mkdir(path.parent)
    assert (host.exists(path), host.size(path)) == (False, None)
    host.write(path, b"old")
    host.write(path, b"n\0w")
    assert (host.read(path), host.read_from(path, 2), host.size(path)) == (b"n\0w", b"w", 3)
    host.rename(path, path.with_name("other"))
    assert [entry.name for entry in path.parent.iterdir()] == ["other"]
    host.remove(path.with_name("other"))
    host.remove(path.with_name("other"))
    host.remove_tree(directory / "new")
    host.remove_tree(directory / "new")
    assert not list(directory.iterdir())


@pytest.mark.parametrize("operation", ["read", "remove_tree", "mkdir", "write"])
def test_an_error_names_the_path_and_knows_whether_it_lasts(host: BaseHost, tmp_path: Path, operation: str) -> None:
    # Given a path below something that is no directory
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "below"
    # When something is done there
    with pytest.raises(HostError, match=str(path)) as caught:
        host.write(path, b"") if operation == "write" else getattr(host, operation)(path)
    # Then one line says so, and that trying again is in vain
    assert caught.value.permanent
    assert "\n" not in str(caught.value)


def test_a_missing_file_may_still_appear(host: BaseHost, tmp_path: Path) -> None:
    with pytest.raises(HostError, match="No such file") as caught:
        host.read(tmp_path / "nothing")
    assert not caught.value.permanent
