"""A host where the user has to log in: one login serves all processes until the connection ends."""

from __future__ import annotations

import os
import re
import shutil
import socket
import struct
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from jfr_mp.config.workers import RemoteWorker, SeparatedTransferWorker
from jfr_mp.errors import CommandTimeout, HostError, HostUnreachable, LoginNeeded
from jfr_mp.hosts import BaseHost
from jfr_mp.hosts.login.broker_messages import Refused
from jfr_mp.hosts.login.broker_socket import broker_dir, broker_socket
from jfr_mp.hosts.login.logins import close_login, is_open, open_login
from jfr_mp.hosts.login.wire import Wire
from jfr_mp.hosts.ssh.endpoint import Endpoint
from jfr_mp.hosts.ssh.questions import Question
from jfr_mp.hosts.ssh.ssh_config import endpoints
from tests.integration.hosts.conftest import MakeHost
from tests.support.processes import Processes, wait_gone
from tests.support.sshd import SecretSshd, Sshd, running
from tests.support.waiting import wait_until

CODE = "918273"
#: How many commands and transfers go through one login in the test of many users; more for a longer test by hand.
OPERATIONS = int(os.environ.get("JFR_MP_TEST_LOGIN_OPERATIONS", "200"))
CLIENT = Path(__file__).with_name("login_client.py")


@pytest.fixture
def otp(tmp_path: Path) -> Iterator[SecretSshd]:
    """A server that lets one login in, by a one-time password."""
    yield from running(SecretSshd(tmp_path / "otp", CODE, interactive=True, once=True))


class Site:
    """A worker that wants the user, and that person."""

    def __init__(self, server: Sshd, base_dir: Path) -> None:
        self.server = server
        self.base_dir = base_dir
        self.fields: dict[str, Any] = {
            "interactive_login": True,
            "key_filename": None,
            "connect_timeout": 5,
            "timeout_execute": 20,
        }
        self.asked: list[Question] = []

    @property
    def endpoint(self) -> Endpoint:
        ((_, endpoint),) = endpoints(self.worker)
        return endpoint

    @property
    def worker(self) -> RemoteWorker:
        return RemoteWorker.model_validate(self.server.worker(self.base_dir, **self.fields))

    @property
    def brokers(self) -> list[psutil.Process]:
        """The brokers of this endpoint."""
        return [
            process
            for process in psutil.process_iter(["cmdline"])
            if (process.info["cmdline"] or [])[-2:] == ["jfr_mp.hosts.login.broker", str(self.endpoint)]
        ]

    @property
    def connections(self) -> int:
        """How many TCP connections the server has seen."""
        return len(re.findall("^Connection from ", self.server.log, re.MULTILINE))

    def logs_in(self, *answers: str) -> bool:
        left = list(answers)

        def answer(question: Question) -> list[str]:
            self.asked.append(question)
            return [left.pop(0) for _ in question.prompts]

        return open_login(self.endpoint, self.base_dir, answer)


@pytest.fixture
def site(otp: SecretSshd, tmp_path: Path, home: Path) -> Iterator[Site]:
    base_dir = tmp_path / "project"
    base_dir.mkdir()
    site = Site(otp, base_dir)
    yield site
    pids = [broker.pid for broker in site.brokers]
    close_login(site.endpoint, base_dir)
    wait_gone(pids)
    shutil.rmtree(broker_dir(base_dir), ignore_errors=True)


@pytest.fixture
def host(site: Site, make_host: MakeHost) -> BaseHost:
    """That host, as a process of the project has it."""
    return make_host(site.server, **site.fields)


def test_one_login_serves_thirty_threads_of_five_processes(site: Site, processes: Processes) -> None:
    # Given one login
    assert site.logs_in(CODE)
    assert not site.logs_in()
    (broker,) = site.brokers

    # When five processes, each with six threads, use the host at the same time
    worker = site.worker.model_dump_json()
    each = str(OPERATIONS // 5)
    clients = [
        processes.start([sys.executable, str(CLIENT), str(site.base_dir), worker, f"client-{number}", "6", each])
        for number in range(5)
    ]

    # Then nothing went wrong, the broker is still there, and the server has seen one connection
    for client in clients:
        assert client.wait(OPERATIONS / 2 + 60) == 0, processes.output(client)
    assert site.brokers == [broker]
    assert site.connections == 1
    assert "nonexistent channel" not in site.server.log
    wait_until(lambda: site.server.logins == 1, 20, "one login in the log")
    assert Path(broker_socket(site.endpoint, site.base_dir)).with_suffix(".log").read_text() == ""


def test_clients_that_are_killed_leave_their_sessions_to_others(
    site: Site, host: BaseHost, processes: Processes
) -> None:
    # Given more clients than there are sessions, in the middle of commands and transfers
    site.logs_in(CODE)
    worker = site.worker.model_dump_json()
    clients = [
        processes.start([sys.executable, str(CLIENT), str(site.base_dir), worker, f"client-{number}", "6", "1000"])
        for number in range(3)
    ]
    wait_until(lambda: len(list(site.base_dir.glob("client-*"))) > 3, 60, "transfers")
    # When they are killed
    for client in clients:
        client.kill()
        client.wait()
    # Then the next one finds the login and free sessions
    assert host.run(["echo", "in"]).stdout == "in\n"
    host.write(site.base_dir / "file", b"content")
    assert host.read(site.base_dir / "file") == b"content"
    assert site.connections == 1


def test_a_client_of_another_version_is_refused(site: Site) -> None:
    # Given a broker
    site.logs_in(CODE)
    (broker,) = site.brokers
    for said in (b'{"version": 99, "kind": "open_commands"}', b"\x80\x04K\x01."):
        # When something comes that it does not understand
        with closing(Wire(socket.socket(socket.AF_UNIX))) as wire:
            wire.socket.connect(str(broker_socket(site.endpoint, site.base_dir)))
            wire.socket.sendall(struct.pack("!II", len(said), 0) + said)
            # Then it says so
            assert "of another version" in wire.expect(Refused).text
    # And it is not disturbed
    assert site.brokers == [broker]
    assert is_open(site.endpoint, site.base_dir)


def test_the_host_asks_in_its_own_words(site: Site) -> None:
    site.logs_in(CODE)
    ((prompt, visible),) = [prompt for question in site.asked for prompt in question.prompts]
    assert prompt == "Password: "
    assert not visible
    assert {question.host for question in site.asked} == {str(site.endpoint)}


def test_a_password_that_is_no_interactive_one(tmp_path: Path, site: Site) -> None:
    for server in running(SecretSshd(tmp_path / "password", "s3cret")):
        other = Site(server, site.base_dir)
        assert other.logs_in("s3cret")
        assert close_login(other.endpoint, site.base_dir)


def test_a_key_and_a_code(site: Site, home: Path) -> None:
    # Given a server that wants both
    site.server.stop()
    config = site.server.directory / "sshd_config"
    both = "PubkeyAuthentication yes\nAuthenticationMethods publickey,keyboard-interactive"
    config.write_text(config.read_text().replace("PubkeyAuthentication no", both))
    site.server.start()
    site.fields["key_filename"] = str(site.server.key)
    # Then one question is enough
    assert site.logs_in(CODE)
    assert len([prompt for question in site.asked for prompt in question.prompts]) == 1


def test_through_a_gateway_that_asks_too(tmp_path: Path, site: Site) -> None:
    for server in running(SecretSshd(tmp_path / "gateway", "first", interactive=True)):
        # Given
        gateway = {"host": server.host, "port": server.port, "user": server.user}
        site.fields["gateway"] = gateway
        # When
        assert site.logs_in("first", CODE)
        # Then
        wait_until(partial(lambda seen: seen.logins == site.server.logins == 1, server), 20, "a login at both")
        assert close_login(site.endpoint, site.base_dir)


def test_without_a_login_everybody_hears_what_to_do(host: BaseHost) -> None:
    with pytest.raises(LoginNeeded, match=r"a login is needed: jfr-mp connect 127\.0\.0\.1"):
        host.run(["true"])


def test_a_wrong_code_is_refused_in_one_line(site: Site) -> None:
    with pytest.raises(HostUnreachable, match=r"login refused.*what you typed") as caught:
        site.logs_in("000000")
    assert "000000" not in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not is_open(site.endpoint, site.base_dir)
    wait_until(lambda: not site.brokers, 20, "the end of the broker")


def test_a_person_who_gives_up_leaves_nothing_behind(site: Site) -> None:
    def interrupt(question: Question) -> list[str]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_login(site.endpoint, site.base_dir, interrupt)
    assert not site.brokers


def test_commands_are_as_on_any_host(site: Site, host: BaseHost) -> None:
    # Given
    site.logs_in(CODE)
    # Then output, errors, exit codes and signals arrive
    done = host.run(["sh", "-c", "cat; echo wrong >&2; exit 3"], stdin="x" * 300_000)
    assert (len(done.stdout), done.stderr, done.returncode) == (300_000, "wrong\n", 3)
    assert host.run(["sh", "-c", "kill -9 $$"]).returncode == -1
    # And what takes too long is ended
    with pytest.raises(CommandTimeout):
        host.run(["sleep", "60"], timeout=0.5)
    wait_until(
        lambda: not any("sleep" in process.name() for process in site.server.sessions), 20, "the end of the command"
    )
    # And errors of files are those of files
    with pytest.raises(HostError, match="No such file") as caught:
        host.read(site.base_dir / "missing")
    assert not isinstance(caught.value, HostUnreachable)


def test_more_threads_than_sessions_wait_for_each_other(site: Site, host: BaseHost, make_host: MakeHost) -> None:
    # Given more users than the server grants sessions
    site.logs_in(CODE)
    hosts = [host, *(make_host(site.server, **site.fields) for _ in range(4))]
    path = site.base_dir / "shared"
    host.write(path, b"content" * 100_000)

    def use(number: int) -> bool:
        used = hosts[number % len(hosts)]
        return used.run(["echo", "in"]).stdout == "in\n" and len(used.read(path)) == 700_000

    # When
    with ThreadPoolExecutor(30) as pool:
        worked = list(pool.map(use, range(60)))
    # Then
    assert all(worked)
    assert site.connections == 1


def test_when_the_connection_breaks_a_login_is_needed_again(site: Site, host: BaseHost, home: Path) -> None:
    # Given a command under way
    site.logs_in(CODE)
    (broker,) = site.brokers
    failures: list[HostError] = []

    def work() -> None:
        try:
            host.run(["sh", "-c", f"touch {site.base_dir}/begun; sleep 30"])
        except HostError as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    wait_until((site.base_dir / "begun").exists, 20, "the command")

    # When
    site.server.break_connections()
    thread.join(20)

    # Then nobody is told that a command or a file is to blame
    (failure,) = failures
    assert isinstance(failure, HostUnreachable)
    wait_gone([broker.pid])
    assert not host.is_connected
    with pytest.raises(LoginNeeded):
        host.run(["true"])
    # And the same host works again after a new login
    (site.server.directory / "secrets").write_text("another\n")
    assert site.logs_in("another")
    assert host.run(["echo", "back"]).stdout == "back\n"


def test_closing(site: Site, host: BaseHost) -> None:
    site.logs_in(CODE)
    host.connect()
    assert close_login(site.endpoint, site.base_dir)
    # The process has ended by now
    assert not site.brokers
    wait_until(lambda: not host.is_connected, 20, "the news of the end")
    assert not close_login(site.endpoint, site.base_dir)
    wait_until(lambda: not site.server.sessions, 20, "the end of the connection")


def test_no_secret_is_left_anywhere(site: Site, host: BaseHost) -> None:
    # Given
    site.logs_in(CODE)
    host.run(["true"])
    # Then
    (broker,) = site.brokers
    assert CODE not in " ".join([*broker.cmdline(), *broker.environ().values()])
    directory = broker_dir(site.base_dir)
    for file in (*directory.glob("*.log"), *site.base_dir.rglob("*")):
        assert file.is_dir() or CODE.encode() not in file.read_bytes()
    # And nobody else gets at the socket
    status = directory.stat()
    assert (status.st_uid, status.st_mode & 0o777) == (os.getuid(), 0o700)


def test_a_transfer_host_is_a_login_of_its_own(site: Site) -> None:
    transfer = {"host": "127.0.0.2", "user": "other"}
    worker = SeparatedTransferWorker.model_validate(
        {**site.server.worker(site.base_dir, **site.fields), "type": "separated_transfer", "transfer": transfer}
    )
    commands, files = (endpoint for _, endpoint in endpoints(worker))
    assert commands == site.endpoint
    assert broker_socket(commands, site.base_dir) != broker_socket(files, site.base_dir)
    assert broker_socket(commands, site.base_dir) == broker_socket(site.endpoint, site.base_dir)
