from __future__ import annotations

import stat
from pathlib import Path

import pytest

from jfr_mp.config import files
from jfr_mp.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("p.yaml", b"a: 1\nb: [\n", "p.yaml, line 3, column 1: is not valid YAML"),
        (
            "p.yaml",
            b"a: 1\nb: c: d\n",
            "p.yaml, line 2, column 5: is not valid YAML: mapping values are not allowed here",
        ),
        (
            "p.yaml",
            b"a:\n\tb: c\n",
            "line 2, column 1: is not valid YAML: found character '\\t' that cannot start any token",
        ),
        ("p.yaml", b"a: {b: 1\n", "is not valid YAML: expected ',' or '}', but got '<stream end>'"),
        ("p.yaml", b"a: 1\nb: \x01\n", "p.yaml, line 2: is not valid YAML: a character is not allowed"),
        ("p.yaml", b"a: 2024-13-01\n", "p.yaml: is not valid YAML: it contains an impossible value"),
        ("p.yaml", b"- a\n", "p.yaml: must contain named fields (`name: value`), not a list"),
        ("p.yaml", b"a: \xff\n", "p.yaml: is not UTF-8 text (byte 3)"),
        ("p.json", b'{"a": 1,\n "b": }', "p.json, line 2, column 7: is not valid JSON: Expecting value"),
        ("p.json", b"[" * 100_000, "p.json: is not valid JSON: nested too deeply"),
        ("p.toml", b"a = 1\nb = c\n", "p.toml: is not valid TOML: Invalid value (at line 2, column 5)"),
    ],
)
def test_what_does_not_parse_is_named_by_file_and_line(folder: Path, name: str, content: bytes, expected: str) -> None:
    # Given a broken file
    path = folder / name
    path.write_bytes(content)

    # When it is read, then the error says where and what
    with pytest.raises(ConfigError) as caught:
        files.load(path)
    assert str(caught.value).startswith(str(path))
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [
        "*SECRET",
        "!SECRET x",
        "x\npassword: SECRET",
        "{SECRET",
        "'SECRET",
        "%SECRET",
        "a: SECRET",
        "!S!SECRET x",
        "&SECRET",
    ],
)
def test_what_yaml_cannot_parse_is_never_quoted(folder: Path, value: str) -> None:
    # Given a file in which YAML takes a password for something else
    path = folder / "p.yaml"
    path.write_text(f"password: {value}\nb: 1\nb: 2\n")

    # When it is read, then the error does not show it
    with pytest.raises(ConfigError) as caught:
        files.load(path)
    assert "SECRET" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_file_that_cannot_be_read_is_named(folder: Path) -> None:
    # Given a link to nowhere
    path = folder / "p.yaml"
    path.symlink_to(folder / "missing.yaml")

    # When it is read, then the error names it and says why
    with pytest.raises(ConfigError, match=r"p\.yaml: cannot be read: No such file or directory"):
        files.load(path)


@pytest.mark.parametrize("name", ["p.yaml", "p.json", "p.toml"])
def test_what_is_written_is_read_again(folder: Path, name: str) -> None:
    # Given fields with text that YAML could take for something else
    fields = {"a": "no", "b": "0123", "c": "x: y\n# z\n", "d": {"e": [1, 2.5, True]}, "f": "line\n" * 3}

    # When they are written over an old file, then they are read as they were, by nobody but the owner
    path = folder / name
    path.write_text("old")
    files.dump(path, fields)
    assert files.load(path) == fields
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(folder.iterdir()) == [path]


def test_a_file_that_cannot_be_written_keeps_its_content(folder: Path) -> None:
    # Given an old file
    path = folder / "p.json"
    path.write_text("old")

    # When something is written that JSON has no word for, then nothing has changed
    with pytest.raises(TypeError):
        files.dump(path, {"a": object()})
    assert path.read_text() == "old"
    assert list(folder.iterdir()) == [path]

    # And a folder that does not exist is an error that names the file
    with pytest.raises(ConfigError, match=r"q\.json: cannot be written"):
        files.dump(folder / "none" / "q.json", {})


def test_a_link_stays_a_link(folder: Path) -> None:
    # Given a project file that is a link to a file kept elsewhere
    kept = folder / "kept.yaml"
    kept.write_text("a: 1")
    link = folder / "p.yaml"
    link.symlink_to(kept)

    # When it is written, then the file kept elsewhere has the new content
    files.dump(link, {"a": 2})
    assert link.is_symlink()
    assert files.load(kept) == {"a": 2}


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        ("queue: {store: {password: x}}", True),
        ("queue: {store: {uri: 'mongodb://me:x@host'}}", True),
        ("metadata: {jfr_mp: {notify: {targets: {chat: {url: 'slack://A/B/C'}}}}}", True),
        ("metadata: {jfr_mp: {notify: {targets: {chat: {env: CHAT}}}}}", False),
        ("queue: {store: {password: ''}}", False),
        ("targets: [5]", False),
    ],
)
def test_a_file_with_a_secret_that_others_can_read_is_noticed(folder: Path, content: str, secret: bool) -> None:
    path = folder / "p.yaml"
    path.write_text(content)
    path.chmod(0o644)
    assert files.exposes_password(path) is secret
    path.chmod(0o600)
    assert not files.exposes_password(path)
