"""What a connection to a host has to do, whichever process has logged in. A new kind is a new value of the fixture."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from jfr_mp.config.workers import RemoteWorker
from jfr_mp.errors import HostError
from jfr_mp.hosts.login.broker_socket import broker_dir, broker_socket
from jfr_mp.hosts.login.lent_connection import LentConnection
from jfr_mp.hosts.login.logins import close_login, open_login
from jfr_mp.hosts.ssh.interface import BLOCK, Connection, ConnectionBroken, Output, RemoteCommand, TookTooLong
from jfr_mp.hosts.ssh.known_hosts import KNOWN_HOSTS
from jfr_mp.hosts.ssh.route import Route
from jfr_mp.hosts.ssh.ssh_config import endpoints
from tests.support.processes import wait_gone
from tests.support.sshd import Sshd, running
from tests.support.waiting import wait_until

#: Connects to a server.
Connect = Callable[[Sshd], Connection]


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    yield from running(Sshd(tmp_path_factory.mktemp("sshd") / "login"))


@pytest.fixture
def own_sshd(tmp_path: Path) -> Iterator[Sshd]:
    """A server for this test alone, which may change and break it."""
    yield from running(Sshd(tmp_path / "own"))


@pytest.fixture(params=["direct", "lent"])
def connect(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Connect]:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    base_dir = tmp_path / "project"
    base_dir.mkdir()
    with ExitStack() as undo:
        undo.callback(shutil.rmtree, broker_dir(base_dir), ignore_errors=True)

        def connect(server: Sshd) -> Connection:
            ((_, endpoint),) = endpoints(RemoteWorker.model_validate(server.worker(tmp_path)))
            made: Connection
            if request.param == "direct":
                made = Route(base_dir / KNOWN_HOSTS).connect(endpoint)
            else:
                open_login(endpoint, base_dir, lambda _question: pytest.fail("a key is enough"))
                undo.callback(close_login, endpoint, base_dir)
                made = LentConnection("host", broker_socket(endpoint, base_dir))
            undo.callback(made.close)
            return made

        yield connect


@pytest.fixture
def connection(connect: Connect, sshd: Sshd) -> Connection:
    return connect(sshd)


def ignore() -> None:
    """Take no notice of a signal that the connection is alive."""


def run(connection: Connection, line: str, stdin: bytes = b"", limit: float = 60.0) -> Output:
    with connection.commands(ignore) as session:
        return session.run(RemoteCommand(line, limit, stdin), ignore)


# Commands


def test_a_command_has_its_input_its_outputs_and_its_status(connection: Connection) -> None:
    done = run(connection, "cat; echo wrong >&2; exit 3", b"\0\xff" * 300_000)
    assert done == Output(b"\0\xff" * 300_000, b"wrong\n", 3)


def test_a_command_has_its_environment(connection: Connection) -> None:
    with connection.commands(ignore) as session:
        command = RemoteCommand("echo $JFR_MP_TEST_A", 60, environment={"JFR_MP_TEST_A": "it's é"})
        assert session.run(command, ignore).stdout.decode() == "it's é\n"


def test_a_command_that_a_signal_kills(connection: Connection) -> None:
    assert run(connection, "echo before; kill -9 $$") == Output(b"before\n", b"", -1)


def test_a_command_that_does_not_read_its_input(connection: Connection) -> None:
    for _ in range(10):
        assert run(connection, "exec 0<&-; echo done", b"x" * 2**22) == Output(b"done\n", b"", 0)
    assert connection.is_alive


def test_a_command_that_closes_its_outputs_and_goes_on(connection: Connection, tmp_path: Path) -> None:
    content = b"x" * 2**22
    done = run(connection, f"exec >&- 2>&-; cat > {tmp_path}/file; exit 4", content)
    assert done == Output(b"", b"", 4)
    assert (tmp_path / "file").read_bytes() == content


def test_a_command_that_takes_too_long(connection: Connection) -> None:
    with pytest.raises(TookTooLong) as caught:
        run(connection, "echo begun; sleep 60", limit=0.5)
    assert caught.value.printed == b"begun\n"
    # And the next one is not disturbed
    assert run(connection, "echo next").stdout == b"next\n"


def test_a_silent_command_shows_that_the_connection_is_alive(connection: Connection) -> None:
    signals: list[None] = []
    with connection.commands(ignore) as session:
        session.run(RemoteCommand("sleep 2.5", 60), lambda: signals.append(None))
    assert len(signals) >= 2


def test_commands_wait_for_their_turn(connection: Connection, tmp_path: Path) -> None:
    # Given as many commands as can run at a time, and some more
    alive = threading.Event()

    def use(number: int) -> bytes:
        with connection.commands(alive.set) as session:
            line = f"touch {tmp_path}/run-{number}; while ! test -e {tmp_path}/go; do sleep 0.05; done; echo {number}"
            return session.run(RemoteCommand(line, 60), ignore).stdout

    with ThreadPoolExecutor(12) as pool:
        results = [pool.submit(use, number) for number in range(12)]
        # When those that wait have heard that the connection is alive
        assert alive.wait(20)
        begun = len(list(tmp_path.glob("run-*")))
        (tmp_path / "go").touch()
        # Then all of them run at the end
        assert [result.result() for result in results] == [b"%d\n" % number for number in range(12)]
    assert 1 < begun < 10


# Files


def test_files_are_written_read_renamed_and_removed(connection: Connection, tmp_path: Path) -> None:
    path, other = str(tmp_path / "fi le é"), str(tmp_path / "other")
    content = bytes(range(256)) * 1024
    blocks = [content[start : start + BLOCK] for start in range(0, len(content), BLOCK)]
    with connection.files(ignore) as session:
        # A file is written over an old one
        Path(path).write_bytes(b"old" * 2**20)
        taken: list[int] = []
        session.write(path, blocks, len(content), taken.append)
        assert Path(path).read_bytes() == content
        assert taken == sorted(taken)
        assert taken[-1] == session.size(path) == len(content)
        # And read, wholly and from some place on
        for offset in (0, 1000, len(content), len(content) + 1):
            received: list[bytes] = []
            assert session.read(path, offset, lambda block, _size: received.append(block)) == len(content)  # noqa: B023
            assert b"".join(received) == content[offset:]
        # And renamed over another one, and removed
        Path(other).touch()
        session.rename(path, other)
        assert (session.size(other), Path(path).exists()) == (len(content), False)
        session.remove(other)
        assert not Path(other).exists()
        assert session.is_directory(str(tmp_path))


def test_an_empty_file(connection: Connection, tmp_path: Path) -> None:
    with connection.files(ignore) as session:
        session.write(str(tmp_path / "empty"), [], 0, lambda _done: None)
        assert session.size(str(tmp_path / "empty")) == 0


def test_an_error_about_a_file_is_none_of_the_connection(connection: Connection, tmp_path: Path) -> None:
    missing = str(tmp_path / "missing")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with connection.files(ignore) as session:
        for fails in (
            lambda: session.size(missing),
            lambda: session.remove(missing),
            lambda: session.is_directory(missing),
            lambda: session.rename(missing, f"{missing}2"),
            lambda: session.read(missing, 0, lambda _block, _size: None),
            lambda: session.write(f"{missing}/file", [b"x" * BLOCK] * 200, BLOCK * 200, lambda _done: None),
        ):
            with pytest.raises(FileNotFoundError):
                fails()
        # SFTP has no name for this one
        with pytest.raises(OSError, match="Failure") as caught:
            session.remove(str(tmp_path / "full"))
        assert caught.value.errno is None
        # And the session goes on
        session.write(str(tmp_path / "file"), [b"ab", b"c"], 3, lambda _done: None)
    assert (tmp_path / "file").read_bytes() == b"abc"


def test_an_error_that_leaves_the_session(connection: Connection, tmp_path: Path) -> None:
    for _ in range(10):
        with pytest.raises(FileNotFoundError), connection.files(ignore) as session:
            session.size(str(tmp_path / "missing"))
    with connection.files(ignore) as session:
        assert session.is_directory(str(tmp_path))


def test_a_reader_that_gives_up(connection: Connection, tmp_path: Path) -> None:
    # Given a file that is larger than what is under way at a time
    (tmp_path / "file").write_bytes(b"x" * 2**23)

    def give_up(_block: bytes, _size: int) -> None:
        raise HostError("the disk of this machine is full")

    # When the reader gives up in the middle, again and again
    for _ in range(10):
        with pytest.raises(HostError, match="disk"), connection.files(ignore) as session:
            session.read(str(tmp_path / "file"), 0, give_up)
    # Then others can read
    with connection.files(ignore) as session:
        assert session.size(str(tmp_path / "file")) == 2**23


def test_an_sftp_server_that_was_killed_while_idle(connect: Connect, own_sshd: Sshd, tmp_path: Path) -> None:
    # Given an SFTP server that was used, and killed afterwards
    own_sshd.reconfigure(Subsystem="sftp /usr/lib/openssh/sftp-server")
    connection = connect(own_sshd)
    with connection.files(ignore) as session:
        assert session.is_directory(str(tmp_path))
    (server,) = [process for process in own_sshd.sessions if process.name() == "sftp-server"]
    server.kill()
    wait_gone([server.pid])
    # When files are used again, after a command that has given the connection time to notice
    assert run(connection, "echo in").stdout == b"in\n"
    with connection.files(ignore) as session:
        # Then another server is there
        assert session.is_directory(str(tmp_path))
    assert connection.is_alive


# Hosts that refuse


def test_a_host_that_allows_few_sessions(connect: Connect, own_sshd: Sshd, tmp_path: Path) -> None:
    # Given a host that allows two sessions at a time
    own_sshd.reconfigure(MaxSessions="2")
    connection = connect(own_sshd)
    (tmp_path / "file").write_bytes(b"content")

    def use(number: int) -> bytes | int:
        if number % 2:
            return run(connection, f"echo {number}").stdout
        with connection.files(ignore) as session:
            return session.size(str(tmp_path / "file"))

    # When more threads want one
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(use, range(40)))
    # Then each has its turn
    assert results == [b"%d\n" % number if number % 2 else 7 for number in range(40)]


def test_a_host_without_sftp(connect: Connect, own_sshd: Sshd) -> None:
    own_sshd.reconfigure(Subsystem="none /bin/false")
    connection = connect(own_sshd)
    with pytest.raises(HostError, match=r"offers no SFTP .*separated_transfer") as caught, connection.files(ignore):
        pytest.fail("there is no session")
    assert caught.value.permanent
    assert run(connection, "echo in").stdout == b"in\n"


def test_a_shell_that_prints_into_sftp(connect: Connect, own_sshd: Sshd) -> None:
    # Given an SFTP server that is started by a shell whose start-up file prints something
    (own_sshd.home / ".bashrc").write_text("echo Welcome\n")
    own_sshd.reconfigure(Subsystem="sftp /usr/lib/openssh/sftp-server")
    connection = connect(own_sshd)
    # Then the error says what is wrong
    with pytest.raises(HostError, match="start-up files there must print nothing") as caught, connection.files(ignore):
        pytest.fail("there is no session")
    assert caught.value.permanent


# The end


def test_a_connection_that_breaks(connect: Connect, own_sshd: Sshd, tmp_path: Path) -> None:
    # Given a command under way, and a session for files
    connection = connect(own_sshd)
    errors: list[Exception] = []

    def work() -> None:
        try:
            run(connection, f"touch {tmp_path}/begun; exec sleep 60")
        except ConnectionBroken as error:
            errors.append(error)

    with ThreadPoolExecutor(1) as pool, connection.files(ignore) as session:
        done = pool.submit(work)
        wait_until((tmp_path / "begun").exists, 20, "the command")
        # When the connection breaks
        own_sshd.break_connections()
        done.result(20)
        # Then both hear of it, and no file is to blame
        assert len(errors) == 1
        with pytest.raises(ConnectionBroken):
            session.size(str(tmp_path))
    wait_until(lambda: not connection.is_alive, 20, "the news of the end")
    with pytest.raises(ConnectionBroken):
        run(connection, "true")


def test_closing_wakes_those_who_wait(connect: Connect, own_sshd: Sshd, tmp_path: Path) -> None:
    connection = connect(own_sshd)
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(run, connection, f"touch {tmp_path}/begun; exec sleep 60")
        wait_until((tmp_path / "begun").exists, 20, "the command")
        connection.close()
        with pytest.raises(ConnectionBroken):
            done.result(20)
    assert not connection.is_alive
