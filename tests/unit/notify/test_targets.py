"""Targets: where a URL comes from, and that no part of it is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from jfr_mp.config.notifications import NotifyTarget
from jfr_mp.errors import ConfigError, DeliveryFailed
from jfr_mp.notify.targets import address, masked, open_target, send, without_secrets
from tests.support.processes import free_port


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("mailtos://me:hunter2@smtp.example.org:587?to=a@b.c", "mailtos://***@smtp.example.org:587"),
        ("json://example.org/hooks/hunter2", "json://***@example.org"),
        ("slack://hunter2/hunter2/hunter2", "slack://***"),
        ("ntfy://hunter2", "ntfy://***"),
        ("mailto://me:hunter2@host:99999", "mailto://***"),
        ("hunter2", "***"),
        ("hunter2 hunter2://x", "***"),
    ],
)
def test_a_url_is_masked(url: str, shown: str) -> None:
    assert masked(url) == shown


@pytest.mark.parametrize(
    "text",
    [
        "refused: hunter2",
        "POST http://example.org/T123/hunter2?key=p%40ss failed",
        "b'hunter2' and p@ss and T123",
    ],
)
def test_secrets_are_removed_from_errors(text: str) -> None:
    cleaned = without_secrets(text, "json://me:hunter2@example.org/T123/hunter2?key=p%40ss")
    assert not any(secret in cleaned for secret in ("hunter2", "T123", "p@ss", "p%40ss"))
    assert ("example.org" in cleaned) == ("example.org" in text)


@pytest.mark.parametrize(
    ("url", "secret", "told"),
    [
        ("mailtos://me:p@ss@example.org", "p@ss", "login of me with p@ss refused"),
        ("mailtos://me:p%2Fa%3Ass@example.org", "p/a:ss", "login with p/a:ss refused"),
        ("json://example.org/tö-ken", "t%C3%B6-ken", "POST /t%C3%B6-ken: 404"),
        ("slack://TokenA/TokenB/TokenC", "tokena", "no host tokena"),
        ("json:hunter2", "hunter2", "json:hunter2 is no URL"),
    ],
)
def test_secrets_are_removed_however_a_library_writes_them(url: str, secret: str, told: str) -> None:
    assert secret in told
    assert secret not in without_secrets(told, url)


def test_a_url_comes_from_the_variable_or_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "url"
    file.write_text("json://file/\nsecond line\n")
    monkeypatch.setenv("SOME_URL", "json://variable/ ")
    assert address("x", NotifyTarget(env="SOME_URL")) == "json://variable/"
    assert address("x", NotifyTarget(file=str(file))) == "json://file/"
    assert address("x", NotifyTarget(url="json://here/")) == "json://here/"


def test_no_more_of_a_file_is_read_than_a_url_needs() -> None:
    with pytest.raises((ConfigError, DeliveryFailed)):
        open_target("x", NotifyTarget(file="/dev/zero"))


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    file = tmp_path / "url"
    file.write_bytes(b"\xff\xfe hunter2")
    with pytest.raises(ConfigError, match=f"target x cannot be used: {file} cannot be read: UnicodeDecodeError$"):
        address("x", NotifyTarget(file=str(file)))
    file.write_text("\n")
    with pytest.raises(ConfigError, match="target x has no URL"):
        address("x", NotifyTarget(file=str(file)))


@pytest.mark.parametrize("url", ["nosuch://hunter2", "slack://hunter2", "hunter2", "json://hunter2:hunter2:hunter2"])
def test_a_url_that_is_wrong_is_an_error_without_it(url: str) -> None:
    with pytest.raises((ConfigError, DeliveryFailed)) as caught:
        open_target("x", NotifyTarget(url=url))
    assert "hunter2" not in str(caught.value)


def test_a_server_that_does_not_answer_is_an_error_without_the_secret() -> None:
    url = f"json://me:hunter2@127.0.0.1:{free_port()}/hunter2"
    with pytest.raises(DeliveryFailed, match=r"^x \(json://\*\*\*@127\.0\.0\.1:\d+\): .*onnection") as caught:
        send("x", NotifyTarget(url=url), "title", "body", 5)
    assert "hunter2" not in str(caught.value)
