"""Who is refused: strangers, readers, other sites, floods."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import replace

import psutil
import pytest

from jfr_mp import submit_flow
from tests.support.flood import Flood
from tests.support.gui import Browser, GuiServer
from tests.support.jobs import add
from tests.support.processes import Processes, run_cli
from tests.support.projects import TestProject
from tests.support.waiting import wait_until

PASSWORD = "correct horse battery"
MB = 2**20


@pytest.fixture
def project(own_project: TestProject) -> TestProject:
    return own_project


@pytest.fixture
def server(own_server: GuiServer) -> GuiServer:
    """A server for each test: what one of them does would be counted against the next."""
    return own_server


@pytest.fixture
def reader(project: TestProject, server: GuiServer) -> Iterator[Browser]:
    add_user(project, "anna", "read")
    with server.browser() as browser:
        browser.submit("/login", 303, name="anna", password=PASSWORD)
        yield browser


def add_user(project: TestProject, name: str, role: str) -> None:
    done = run_cli("gui", "users", "add", name, "--role", role, env=project.env, stdin=f"{PASSWORD}\n")
    assert done.returncode == 0, done.stderr


def test_a_stranger_gets_nothing(server: GuiServer) -> None:
    with server.browser() as browser:
        for path in ("/p/main/", "/p/main/jobs", "/p/main/jobs/1/download?name=x", "/p/none/"):
            answer = browser.get(path)
            assert answer.status_code == 303
            assert answer.headers["location"].startswith("/login?next=")
        assert browser.get("/p/main/live").status_code == 401
        assert browser.post("/p/main/jobs/act", data={"action": "delete", "db_ids": "1"}).status_code == 401
        # Nor with a cookie of its own making
        name = f"jfr_mp_{server.base.rpartition(':')[2]}"
        browser.cookies.set(name, "WyJAIiwiYSJd.aTHx1Q.AAAAAAAAAAAAAAAAAAAAAAAAAAA")
        assert browser.get("/p/main/").status_code == 303
        # And static files are no way out
        assert browser.get("/static/%2e%2e/app.py").status_code == 404
        assert browser.get("/static/../templates/base.html").status_code == 404


def test_a_link_logs_in_once(server: GuiServer) -> None:
    token = server.links[0]
    with closing(server.operator()) as browser:
        (cookie,) = browser.cookies.jar
        assert cookie.has_nonstandard_attr("HttpOnly")
        assert cookie.get_nonstandard_attr("SameSite") == "lax"
        assert "Overview" in browser.page("/p/main/")
        with server.browser() as other:
            assert other.get(f"/login?token={token}").status_code == 403
            assert other.get("/login?token=x").status_code == 403
        # A changed cookie is worth nothing
        value = cookie.value or ""
        # Not its last letter, of which a part of the bits means nothing
        changed = f"{value[:-9]}{'A' if value[-9] != 'A' else 'B'}{value[-8:]}"
        with server.browser(cookies={cookie.name: changed}) as forger:
            assert forger.get("/p/main/").status_code == 303
        # Logging out needs the token of a form
        assert browser.post("/logout").headers["location"] == "/login"
        browser.page("/p/main/")
        browser.submit("/logout", 303)
        assert browser.get("/p/main/").status_code == 303


def test_a_reader_reads_and_does_not_act(project: TestProject, server: GuiServer, reader: Browser) -> None:
    (db_id,) = submit_flow(add(1))
    text = reader.page("/p/main/jobs")
    assert "anna may read" in text
    assert "Rerun" not in text
    reader.page(f"/p/main/jobs/act?action=delete&db_ids={db_id}", 403)
    reader.submit("/p/main/jobs/act", 403, action="delete", db_ids=db_id)
    assert project.db.jobs.count_documents({}) == 1
    assert '"action": "refused"' in (project.base_dir / "gui" / "audit.jsonl").read_text()
    # A user who may operate does; one who is removed is logged out at once
    add_user(project, "anna", "operate")
    reader.page(f"/p/main/jobs/act?action=delete&db_ids={db_id}")
    assert run_cli("gui", "users", "remove", "anna", env=project.env).returncode == 0
    assert reader.get("/p/main/").status_code == 303


def test_passwords_are_hashed_and_cannot_be_guessed(project: TestProject, server: GuiServer) -> None:
    add_user(project, "anna", "read")
    file = project.base_dir / "gui" / "users.json"
    assert PASSWORD not in file.read_text()
    assert file.stat().st_mode & 0o077 == 0
    assert (project.base_dir / "gui" / "key").stat().st_mode & 0o077 == 0
    short = run_cli("gui", "users", "add", "bob", env=project.env, stdin="short\n")
    assert short.returncode == 1
    assert "fewer than 10" in short.stderr
    assert "anna" in run_cli("gui", "users", "list", env=project.env).stdout
    with server.browser() as browser:
        wrong = [browser.post("/login", data={"name": "anna", "password": f"wrong {n}"}).status_code for n in range(8)]
    assert wrong[0] == 403
    assert wrong[-1] == 429


def test_a_login_leads_to_this_server_only(project: TestProject, server: GuiServer) -> None:
    add_user(project, "anna", "read")
    with server.browser() as browser:
        for goal in ("//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)"):
            answer = browser.post("/login", data={"name": "anna", "password": PASSWORD, "next": goal})
            assert answer.headers["location"] == "/"


def test_requests_of_other_sites_are_refused(project: TestProject, server: GuiServer) -> None:
    (db_id,) = submit_flow(add(1))
    with closing(server.operator()) as browser:
        browser.page(f"/p/main/jobs/act?action=delete&db_ids={db_id}")
        form = {"csrf": browser.csrf, "action": "delete", "db_ids": db_id}
        for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
            assert browser.post("/p/main/jobs/act", data=form, headers=headers).status_code == 403
        for wrong in ("", "x", browser.csrf[:-1]):
            assert browser.post("/p/main/jobs/act", data={**form, "csrf": wrong}).status_code == 403
        assert project.db.jobs.count_documents({}) == 1
        assert browser.post("/p/main/jobs/act", data={}, headers={"Origin": server.base}).text.find("another site") < 0
        # A name that points at this machine is not served
        assert browser.get("/", headers={"Host": "evil.example"}).status_code == 421
        assert browser.get("/p/main/", headers={"Host": "localhost:1"}).status_code == 421
        port = server.base.rpartition(":")[2]
        assert browser.get("/login", headers={"Host": f"localhost:{port}"}).status_code == 200


def test_answers_allow_no_scripts_of_others(server: GuiServer) -> None:
    with closing(server.operator()) as browser:
        for path in ("/p/main/", "/login", "/static/gui.js", "/p/main/jobs/999"):
            headers = browser.get(path).headers
            policy = headers["content-security-policy"]
            assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
            assert "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["cache-control"] == "no-store"
            # Otherwise browsers send the origin "null" with the forms of this server, which are refused then
            assert headers["referrer-policy"] == "same-origin"


def test_large_bodies_are_refused(server: GuiServer) -> None:
    with closing(server.operator()) as browser:
        assert browser.post("/login", content=b"x" * 70_000).status_code == 413

        def chunks() -> Iterator[bytes]:
            for _ in range(100):
                yield b"x" * 1000

        assert browser.post("/login", content=chunks()).status_code == 413


def test_a_flood_is_refused_and_takes_no_memory(project: TestProject, server: GuiServer) -> None:
    # Given a thousand requests at once, of a stranger: pages, static files, and logins with links of its own making
    host, _, port = server.base.partition("//")[2].partition(":")
    paths = ("/p/main/", "/static/gui.css", "/login?token=x", "/none")
    batch = "".join(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n" for path in paths * 250).encode()

    def flood() -> bytes:
        answers = b""
        with socket.create_connection((host, int(port)), timeout=30) as sock:
            sock.sendall(batch)
            while answers.count(b"HTTP/1.1 ") < 1000:
                answers += sock.recv(1_000_000)
        return answers

    for _ in range(3):  # until the buffers have their size
        flood()
    begin, before = time.monotonic(), memory(server)
    # When it comes again and again
    floods = [flood() for _ in range(4)]
    # Then no more than the rate is served, the memory stays, and the next user is served
    allowed = 4 * 120 + 40 * (time.monotonic() - begin)
    served = sum(answers.count(b"HTTP/1.1 ") - answers.count(b"HTTP/1.1 429") for answers in floods)
    assert served <= allowed
    assert memory(server) - before < 5 * MB
    assert (project.base_dir / "gui" / "audit.jsonl").read_text().count("link refused") < 10
    with server.browser() as browser:
        wait_until(lambda: browser.get("/login").status_code == 200, 5, "an answer")


@pytest.mark.parametrize("addresses", [1, 200], ids=["one client", "many clients"])
def test_a_thousand_requests_are_refused_or_served(project: TestProject, server: GuiServer, addresses: int) -> None:
    # Given a user with many open connections, from one address or from many, whose requests follow each other at once
    (db_id,) = submit_flow(add(1))
    port = int(server.base.rpartition(":")[2])
    with closing(server.operator()) as browser:
        (cookie,) = browser.cookies.jar
        flood = Flood(
            port,
            ("/static/gui.css", "/p/main/batches", f"/p/main/jobs/{db_id}", "/p/main/jobs/none", "/nothing"),
            1000,
            [f"127.0.1.{number + 1}" for number in range(addresses)],
            connections=100,
            cookie=f"{cookie.name}={cookie.value}",
        )
        # When 1,000 have come, and come again
        first, before = flood.run(), memory(server)
        again = flood.run()

        # Then each was answered: served, or refused with a status that says so
        for flooded in (first, again):
            assert flooded.total == 1000
            assert set(flooded.answers) <= {200, 404, 429, 503}, flooded.answers
            # An address is served at its rate; many addresses share the server
            limit = addresses * (120 + 40 * flooded.seconds)
            assert flooded.total - flooded.answers[429] - flooded.answers[503] <= limit
            assert flooded.answers[200] > 0
        # And the memory stays as it is, and the next user is served
        assert memory(server) - before < 10 * MB
        wait_until(lambda: browser.get(f"/p/main/jobs/{db_id}").status_code == 200, 10, "a page")


def test_users_read_while_strangers_flood_from_many_addresses(project: TestProject, server: GuiServer) -> None:
    # Given a user who is logged in, and strangers with 150 addresses, who know the server and have forged cookies
    (db_id,) = submit_flow(add(1))
    port = int(server.base.rpartition(":")[2])
    addresses = [f"127.0.2.{number + 1}" for number in range(150)]
    paths = ("/login", "/p/main/", "/static/gui.css", "/login?token=x")
    flood = Flood(port, paths, 4000, addresses, connections=150, cookie=f"jfr_mp_{port}=WyJAIiwiYSJd.aTHx1Q.AAAA")
    with closing(server.operator()) as browser, ThreadPoolExecutor(1) as pool:
        replace(flood, number=1000).run()
        browser.page(f"/p/main/jobs/{db_id}")
        before = memory(server)
        # When they flood the server
        flooding, read = pool.submit(flood.run), []
        while not flooding.done():
            read.append(browser.get(f"/p/main/jobs/{db_id}").status_code)
            time.sleep(0.05)
        flooded = flooding.result()
        # Then the user has read every page, and all strangers together got no more than their share
        assert len(read) > 5
        assert set(read) == {200}
        assert flooded.total - flooded.answers[429] - flooded.answers[0] <= 240 + 80 * (flooded.seconds + 1)
        assert flooded.answers[429] > 1000
        assert memory(server) - before < 10 * MB


def test_connections_that_strangers_hold_keep_no_user_out(project: TestProject, server: GuiServer) -> None:
    # Given a page that is open, and more connections of strangers than are served at once, which were answered and stay
    host, _, port = server.base.partition("//")[2].partition(":")
    request = f"GET /login HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode()
    with closing(server.operator()) as browser, ExitStack() as stack:
        (cookie,) = browser.cookies.jar
        page = stack.enter_context(socket.create_connection((host, int(port)), timeout=20))
        page.sendall(
            f"GET /p/main/live HTTP/1.1\r\nHost: {host}:{port}\r\nCookie: {cookie.name}={cookie.value}\r\n\r\n".encode()
        )
        assert page.recv(4096).startswith(b"HTTP/1.1 200")
        for number in range(300):
            source = (f"127.0.3.{number % 250 + 1}", 0)
            sock = stack.enter_context(socket.create_connection((host, int(port)), timeout=20, source_address=source))
            sock.sendall(request)
            assert sock.recv(4096).startswith(b"HTTP/1.1 ")
        # When a user comes with a new connection, then the user is served, and the open page stays open
        with server.browser(cookies={cookie.name: cookie.value or ""}) as other:
            assert other.get("/p/main/").status_code == 200
        page.settimeout(0.2)
        with suppress(TimeoutError):
            assert page.recv(4096) != b""


def test_passwords_cannot_be_guessed_from_many_addresses(project: TestProject, server: GuiServer) -> None:
    # Given the link of the owner
    token, (host, _, port) = server.links[0], server.base.partition("//")[2].partition(":")
    body = "name=anna&password=wrong-password"

    def attempt(number: int) -> bytes:
        address = (f"127.0.4.{number % 250 + 1}", 0)
        with socket.create_connection((host, int(port)), timeout=30, source_address=address) as sock:
            head = f"POST /login HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: {len(body)}\r\n"
            sock.sendall(f"{head}Content-Type: application/x-www-form-urlencoded\r\n\r\n{body}".encode())
            return sock.recv(12)[9:]

    # When passwords are tried from many addresses
    begun = time.monotonic()
    answers = [attempt(number) for number in range(100)]
    # Then all of them together are limited
    assert answers.count(b"403") <= 30 + time.monotonic() - begun
    assert answers[-1] == b"429"
    # And the owner can log in nevertheless
    with server.browser() as browser:
        assert browser.get(f"/login?token={token}").status_code == 303


def test_slow_clients_hold_up_no_one(project: TestProject, server: GuiServer) -> None:
    (db_id,) = submit_flow(add(1))
    host, _, port = server.base.partition("//")[2].partition(":")
    process = psutil.Process(server.process.pid)
    with closing(server.operator()) as browser, ExitStack() as stack:
        browser.page("/p/main/")
        (cookie,) = browser.cookies.jar
        before, descriptors = memory(server), process.num_fds()

        def client(text: str) -> socket.socket:
            sock = stack.enter_context(socket.create_connection((host, int(port)), timeout=20))
            sock.sendall(text.encode())
            return sock

        # Given open pages that read nothing, while much happens; and more clients than are served at once, which do not
        # finish their requests
        head = f"Host: {host}:{port}\r\nCookie: {cookie.name}={cookie.value}\r\n"
        for _ in range(20):
            client(f"GET /p/main/live HTTP/1.1\r\n{head}\r\n")
        for number in range(200):
            project.db.jobs.update_one({"db_id": db_id}, {"$set": {"state": ("PAUSED", "READY")[number % 2]}})
        slow = [client(("GET / HTTP/1.1\r\nHost: x", f"GET /login HTTP/1.1\r\n{head}")[n % 2]) for n in range(260)]
        # Then the server ends these, and others are served
        assert all(is_ended(sock) for sock in slow)
        wait_until(lambda: browser.get(f"/p/main/jobs/{db_id}").status_code == 200, 10, "a page")
        assert memory(server) - before < 15 * MB
        stack.close()
        wait_until(lambda: process.num_fds() <= descriptors + 2, 20, "the descriptors")


def is_ended(sock: socket.socket) -> bool:
    """Wait until the server has ended a connection without an answer."""
    try:
        return sock.recv(1) == b""
    except ConnectionResetError:  # by the server, which had not read all that was sent
        return True


def memory(server: GuiServer) -> int:
    return int(psutil.Process(server.process.pid).memory_info().rss)


def test_other_machines_need_tls(project: TestProject) -> None:
    done = run_cli("gui", "--host", "0.0.0.0", env=project.env)
    assert done.returncode == 3
    assert "--tls-cert" in done.stderr


def test_tls_and_a_taken_port(project: TestProject, processes: Processes, server: GuiServer, tmp_path: object) -> None:
    taken = run_cli("gui", "--port", server.base.rpartition(":")[2], env=project.env)
    assert taken.returncode == 6
    files = [f"{tmp_path}/{name}.pem" for name in ("cert", "key")]
    subject = ["-subj", "/CN=localhost", "-days", "2", "-nodes", "-newkey", "rsa:2048", "-x509"]
    argv = ["openssl", "req", *subject, "-out", files[0], "-keyout", files[1]]
    subprocess.run(argv, check=True, capture_output=True)
    secure = GuiServer(processes, project.env, "--port", "0", "--tls-cert", files[0], "--tls-key", files[1])
    assert secure.base.startswith("https://")
    with secure.browser(verify=False) as browser:
        answer = browser.get(f"/login?token={secure.links[0]}")
        assert "Secure" in answer.headers["set-cookie"]
