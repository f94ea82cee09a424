"""Processes that jobs left behind, on this machine; `tests/acceptance/test_leftovers.py` has whole jobs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from jfr_mp.hosts.local import LocalHost
from jfr_mp.schedulers.leftovers import Leftovers, variables
from tests.support.waiting import wait_until

TOKEN = "0123456789abcdef"


class Clock:
    """Monotonic time that passes when a test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def left_behind() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "600"], env={**os.environ, **variables(TOKEN)}) as process:
        yield process
        process.kill()


def test_a_look_that_fails_is_repeated(
    left_behind: subprocess.Popen[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a machine on which the command that looks for processes is killed, as if there was no memory
    grep = tmp_path / "grep"
    grep.write_text("#!/bin/sh\nkill -9 $$\n")
    grep.chmod(0o755)
    path = os.environ["PATH"]
    monkeypatch.setenv("PATH", f"{tmp_path}:{path}")
    clock = Clock()
    leftovers = Leftovers(LocalHost, clock)
    leftovers.expect(TOKEN)
    for _ in range(2):
        clock.now += 10
        leftovers.reap()
    assert left_behind.poll() is None
    assert leftovers

    # When there is memory again
    monkeypatch.setenv("PATH", path)
    clock.now += 10
    leftovers.reap()

    # Then the process is stopped
    wait_until(lambda: left_behind.poll() is not None, 10, "the end of the process")


def test_looking_in_vain_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    clock = Clock()
    leftovers = Leftovers(LocalHost, clock)
    leftovers.expect(TOKEN)
    for _ in range(100):
        clock.now += 10
        leftovers.reap()
    assert not leftovers
