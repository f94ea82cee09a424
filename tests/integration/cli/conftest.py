"""The command line in this process, on a real database: what it prints, and its exit code."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from jfr_mp.cli import main
from jfr_mp.errors import ExitCode


@dataclass(frozen=True)
class Printed:
    """What a command has printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The standard output as JSON."""
        return json.loads(self.out)


Command = Callable[..., Printed]


@pytest.fixture
def types(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Call it with the words of a command line, without ``jfr-mp``."""

    def run(*words: str) -> Printed:
        monkeypatch.setattr(sys, "argv", ["jfr-mp", *words])
        try:
            code = main()
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        printed = capsys.readouterr()
        return Printed(code, printed.out, printed.err)

    return run


@pytest.fixture
def ok(types: Command) -> Callable[..., str]:
    """Call it with the words of a command that has to succeed; it returns the standard output."""

    def run(*words: str) -> str:
        printed = types(*words)
        assert printed.code == ExitCode.OK, printed.out + printed.err
        return printed.out

    return run
