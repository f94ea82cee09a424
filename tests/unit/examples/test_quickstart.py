from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from jfr_mp.errors import ExitCode
from jfr_mp.examples import quickstart


def test_without_its_packages_the_example_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Given an environment without the packages of the example
    find = importlib.util.find_spec
    monkeypatch.setattr(quickstart, "find_spec", lambda name: None if name == "ase" else find(name))
    monkeypatch.setattr("signal.signal", lambda *_: None)

    # When it is started, then it says so, and starts nothing
    assert quickstart.main([str(tmp_path / "run")]) == ExitCode.CONFIG
    printed = capsys.readouterr()
    assert "the example needs ase: install the extra `eos`" in " ".join((printed.out + printed.err).split())
    assert not (tmp_path / "run").exists()
