"""Commands of several threads in one shell of a host."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jfr_mp.config.workers import RemoteWorker
from jfr_mp.errors import HostError
from jfr_mp.hosts import BaseHost, CommandResult, host_of
from tests.support.sshd import Sshd, running
from tests.support.waiting import wait_until

#: Keeps the first shell busy until the others wait for it.
_HOLD = ["/bin/sh", "-c", "until test -e go; do sleep 0.05; done; echo held"]


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    yield from running(Sshd(tmp_path_factory.mktemp("sshd") / "login"))


@pytest.fixture(params=[False, True], ids=["plain", "sanitized"])
def host(request: pytest.FixtureRequest, sshd: Sshd, tmp_path: Path) -> Iterator[BaseHost]:
    worker = {**sshd.worker(tmp_path), "sanitize_command": request.param}
    host = host_of(RemoteWorker.model_validate(worker), tmp_path / "project")
    host.connect()
    yield host
    host.close()


def together(host: BaseHost, directory: Path, sshd: Sshd, commands: list[dict[str, object]]) -> list[object]:
    """Run commands while another one is under way; return their results or errors. One shell must have run them."""
    before = sshd.log.count("Starting session: command")

    def result(command: dict[str, object]) -> object:
        try:
            return host.run_together(**command)  # type: ignore[arg-type]
        except HostError as error:
            return str(error)

    with ThreadPoolExecutor(len(commands) + 1) as threads:
        held = threads.submit(host.run_together, _HOLD, cwd=directory)
        answers = [threads.submit(result, command) for command in commands]
        grouping = host._shared._grouping  # type: ignore[attr-defined]  # noqa: SLF001 - nobody else knows who waits
        wait_until(lambda: len(grouping._waiting) == len(commands), 20, "the commands")  # noqa: SLF001
        (directory / "go").touch()
        assert held.result().stdout == "held\n"
        results = [answer.result() for answer in answers]
    alone = sum(isinstance(each, str) for each in results)
    assert sshd.log.count("Starting session: command") - before == 2 + alone
    return results


def test_each_has_its_directory_its_input_and_its_result(host: BaseHost, sshd: Sshd, tmp_path: Path) -> None:
    # Given commands that read all, some or nothing of what they get, that fail, and that print what looks like a frame
    (tmp_path / "o'ther é").mkdir()
    large = "x" * 70_000
    commands: list[dict[str, object]] = [
        {"argv": ["cat"], "stdin": "a\n\nb"},
        {"argv": ["head", "-c", "1"], "stdin": large},
        {"argv": ["sh", "-c", "echo no >&2; exit 7"], "stdin": large},
        {"argv": ["pwd"], "cwd": tmp_path / "o'ther é"},
        {"argv": ["wc", "-c"]},
        {"argv": ["sh", "-c", "kill -9 $$"], "stdin": "lost"},
        {"argv": ["printf", "%s", "\njfr-mp-0 begins\n"]},
        {"argv": ["wc", "-c"], "stdin": large},
        {"argv": ["pwd"], "cwd": tmp_path / "missing", "stdin": "not read"},
        {"argv": ["no-such-command"]},
        {"argv": ["cat"], "stdin": "the last"},
    ]

    # When they run in one shell, then each has the result that it has alone
    results = together(host, tmp_path, sshd, commands)
    assert results[8] == f"{host.name}: cannot run pwd in {tmp_path}/missing: there is no such directory"
    found = [each for each in results if isinstance(each, CommandResult)]
    assert [each.returncode for each in found] == [0, 0, 7, 0, 0, 137, 0, 0, 127, 0]
    assert [each.stdout for each in found] == [
        "a\n\nb",
        "x",
        "",
        f"{tmp_path}/o'ther é\n",
        "0\n",
        "",
        "\njfr-mp-0 begins\n",
        "70000\n",
        "",
        "the last",
    ]
    assert found[2].stderr == "no\n"
    assert "not found" in found[8].stderr


def test_deliveries_and_fetches_go_together(host: BaseHost, sshd: Sshd, tmp_path: Path) -> None:
    # Given more files than one shell takes, one of which cannot be written
    (tmp_path / "file").write_text("in the way")
    contents = {f"job {number}": bytes([number]) * (100 * number) for number in range(40)}
    before = sshd.log.count("Starting session: command")

    # When threads deliver and fetch them
    with ThreadPoolExecutor(41) as threads:
        refused = threads.submit(host.deliver, tmp_path / "file" / "below", b"content")
        list(threads.map(lambda name: host.deliver(tmp_path / name / "data", contents[name]), contents))
        limits = {"data": 10_000, "missing": 1}
        here = tmp_path / "here"
        missing = list(threads.map(lambda name: host.fetch(tmp_path / name, limits, here / name), contents))

    # Then all arrive in few sessions, and that one is refused with the reason
    assert {name: (here / name / "data").read_bytes() for name in contents} == contents
    assert missing == [["missing"]] * 40
    with pytest.raises(HostError, match=r"cannot write .*file/below: File exists"):
        refused.result()
    assert sshd.log.count("Starting session: command") - before < 30


def test_a_host_whose_head_takes_too_much_loses_nothing(sshd: Sshd, tmp_path: Path) -> None:
    # Given a host whose `head` reads more than it passes on
    programs = tmp_path / "bin"
    programs.mkdir()
    code = "import sys; sys.stdout.write(sys.stdin.read()[:int(sys.argv[2])])"
    (programs / "head").write_text(f'#!/bin/sh\nexec {sys.executable} -c "{code}" "$@"\n')
    (programs / "head").chmod(0o755)
    worker = {**sshd.worker(tmp_path), "shell_cmd": f"env PATH={programs}:/usr/bin:/bin bash", "login_shell": False}
    host = host_of(RemoteWorker.model_validate(worker), tmp_path / "project")
    try:
        host.connect()
        with ThreadPoolExecutor(12) as threads:
            texts = [f"text {number}" for number in range(12)]
            results = list(threads.map(lambda text: host.run_together(["cat"], stdin=text), texts))
        assert [result.stdout for result in results] == texts
    finally:
        host.close()
