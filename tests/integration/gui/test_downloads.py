"""What a job has left in its run directory: links, FIFOs, huge files and odd names, seen through the web page."""

from __future__ import annotations

import os
import re
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from jfr_mp import submit_flow
from tests.support.gui import Browser, GuiServer
from tests.support.jobs import add
from tests.support.projects import TestProject
from tests.support.waiting import wait_until

_SECRET = "a secret of the user"
_HUGE = 2**30 + 1


@pytest.fixture
def run_dir(project: TestProject, tmp_path: Path) -> Path:
    """The run directory of the only job, next to which there is a secret."""
    (db_id,) = submit_flow(add(1))
    directory = tmp_path / "run"
    directory.mkdir()
    (tmp_path / "secret").write_text(_SECRET)
    project.db.jobs.update_one({"db_id": db_id}, {"$set": {"run_dir": str(directory)}})
    return directory


@pytest.fixture
def job(project: TestProject, run_dir: Path) -> str:
    """The path of the page of the job."""
    (db_id,) = project.db.jobs.distinct("db_id")
    return f"/p/main/jobs/{db_id}"


def download(operator: Browser, job: str, name: str | bytes) -> Any:
    return operator.get(f"{job}/download?name={quote(name, safe='')}")


def test_links_fifos_and_devices_are_neither_listed_nor_sent(operator: Browser, job: str, run_dir: Path) -> None:
    # Given everything but regular files
    (run_dir / "link").symlink_to("../secret")
    (run_dir / "outside").symlink_to("..")
    (run_dir / "loop").symlink_to(".")
    os.mkfifo(run_dir / "fifo")
    (run_dir / "directory").mkdir()
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket(socket.AF_UNIX))
        # The path of a socket is limited to 107 bytes.
        descriptor = os.open(run_dir, os.O_RDONLY)
        stack.callback(os.close, descriptor)
        listener.bind(f"/proc/self/fd/{descriptor}/socket")
        (run_dir / "file").write_text("content")

        # Then the regular file is listed and sent, and nothing else, whatever the name is written like
        shown = operator.page(f"{job}/files")
        assert re.findall(r"download>([^<]+)</a>", shown) == ["file"]
        assert download(operator, job, "file").text == "content"
        names = ["link", "outside/secret", "loop/file", "./file", "file/", "fifo", "directory", "socket"]
        names += ["../secret", "directory/../../secret", str(run_dir / "file"), "/etc/passwd", "", ".", "..", "file\0"]
        names += ["file\0.txt", "file\n", "\n", "%2e%2e/secret", "..\\secret", "x" * 5000, "f*", "-printf"]
        for name in names:
            answer = download(operator, job, name)
            assert answer.status_code == 404, name
            assert _SECRET not in answer.text


@pytest.mark.parametrize(
    "name",
    [
        "new\nline",
        'quote"; filename="evil.exe',
        "-rf",
        " ",
        "..x",
        "a\\b",
        "übergröße €",
        "<script>",
        "$(touch x)`touch y`",
        "\x1b[2J",
        "100%41",
    ],
)
def test_odd_names_are_sent_under_safe_names(operator: Browser, job: str, run_dir: Path, name: str) -> None:
    (run_dir / name).write_text(f"content of {name!r}")
    shown = operator.page(f"{job}/files")
    assert "<script" not in shown.partition('id="part"')[2]
    assert "\x1b" not in shown
    # The link of the page leads to it
    (link,) = re.findall(r'<td class="id"><a href="([^"]+)"', shown)
    answer = operator.get(link.replace("&amp;", "&"))
    assert (answer.status_code, answer.text) == (200, f"content of {name!r}")
    disposition = answer.headers["content-disposition"]
    assert disposition == f"attachment; filename*=utf-8''{quote(name, safe='')}"
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_name_that_is_no_text_is_a_clear_error(operator: Browser, job: str, run_dir: Path) -> None:
    Path(os.fsdecode(os.fsencode(run_dir) + b"/\xff\xfe")).write_text("content")
    (link,) = re.findall(r'<td class="id"><a href="([^"]+)"', operator.page(f"{job}/files"))
    assert operator.get(link).status_code == 502
    assert download(operator, job, b"\xff\xfe").status_code in (404, 502)


def test_a_huge_file_is_refused(operator: Browser, server: GuiServer, job: str, run_dir: Path, temporary: Path) -> None:
    # Given a sparse file beyond the limit
    with (run_dir / "huge").open("wb") as file:
        file.truncate(_HUGE)
    answer = download(operator, job, "huge")
    assert answer.status_code == 502
    assert "at most 1024 MB are read" in answer.text
    assert not list(temporary.glob("jfr-mp-gui-*"))


def test_a_client_that_leaves_or_is_slow_leaves_no_copy(
    server: GuiServer, operator: Browser, job: str, run_dir: Path, temporary: Path
) -> None:
    # Given clients that begin to read a file and do not go on, as many as are served at once
    (run_dir / "large").write_bytes(bytes(8 * 2**20))
    host, _, port = server.base.partition("//")[2].partition(":")
    (cookie,) = operator.cookies.jar
    request = (
        f"GET {job}/download?name=large HTTP/1.1\r\nHost: {host}:{port}\r\nCookie: {cookie.name}={cookie.value}\r\n\r\n"
    )
    with ExitStack() as stack:
        for _ in range(8):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.settimeout(20)
            client.connect((host, int(port)))
            client.sendall(request.encode())
            assert client.recv(12) == b"HTTP/1.1 200"

        # Then another one is told to wait, and their copies have no name
        answer = download(operator, job, "large")
        assert (answer.status_code, "try again later" in answer.text) == (502, True)
        assert not list(temporary.glob("jfr-mp-gui-*"))

    # And when they have left, the next one is served
    wait_until(lambda: download(operator, job, "large").status_code == 200, 20, "a free place")


def test_millions_of_files_are_listed_up_to_a_limit(operator: Browser, job: str, run_dir: Path) -> None:
    # Given more names than are read: 45,000 of 200 bytes each
    first = run_dir / "0"
    first.touch()
    for number in range(45_000):
        os.link(first, run_dir / f"{number:0200}")
    shown = operator.page(f"{job}/files")
    assert shown.count(" download>") == 2000
    assert "more; <code>jfr-mp job files ls" in shown


@pytest.mark.parametrize("kind", ["link", "fifo", "directory", "huge"])
def test_the_output_of_a_job_is_read_from_regular_files_alone(
    operator: Browser, job: str, run_dir: Path, kind: str
) -> None:
    path = run_dir / "queue.out"
    if kind == "link":
        path.symlink_to("../secret")
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    else:
        with path.open("wb") as file:
            file.truncate(_HUGE)
            file.seek(0, 2)
            file.write(b"the <end>")
    shown = operator.page(f"{job}/queue")
    assert _SECRET not in shown
    if kind == "huge":
        assert "the &lt;end&gt;" in shown
        assert len(shown) < 1_000_000
    else:
        assert "queue.out" in shown
