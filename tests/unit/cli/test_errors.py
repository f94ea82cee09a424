from __future__ import annotations

import logging
from pathlib import Path

import pytest

from jfr_mp.cli.errors import report, show_log
from jfr_mp.errors import AlreadyRunning, ConfigError, DatabaseUnavailable, ExitCode, NotRunning


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ConfigError("no such worker"), ExitCode.CONFIG),
        (DatabaseUnavailable("127.0.0.1:1 does not answer"), ExitCode.DATABASE),
        (NotRunning("nothing runs"), ExitCode.NOT_RUNNING),
        (AlreadyRunning("it runs"), ExitCode.ALREADY_RUNNING),
        (PermissionError(13, "Permission denied", "/x"), ExitCode.ERROR),
    ],
)
def test_an_error_of_ours_is_its_own_text(error: Exception, code: ExitCode, capsys: pytest.CaptureFixture[str]) -> None:
    # When it reaches the top
    assert report(error, with_traceback=False) == code

    # Then stdout is left alone, and stderr has the text and no traceback
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"Error: {error}\n")
    assert "bug" not in printed.err


def test_an_unexpected_error_says_how_to_see_more(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(KeyError("x"), with_traceback=False) == ExitCode.ERROR

    printed = capsys.readouterr().err
    assert printed.startswith("Error: unexpected KeyError: 'x'\nThis is a bug")
    assert "JFREMOTE_CLI_FULL_EXC=1" in printed


def test_a_traceback_comes_before_the_message(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        raise ConfigError("no such worker")
    except ConfigError as error:
        report(error, with_traceback=True)

    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[-1] == "Error: no such worker"


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        (None, ["Error: no", "Warning: maybe"]),
        ("error", ["Error: no"]),
        ("debug", ["Error: no", "Warning: maybe", "Info: well", "Debug: aha"]),
        ("nonsense", ["Error: no", "Warning: maybe"]),
    ],
)
def test_the_settings_say_how_much_is_logged(
    level: str | None,
    expected: list[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # Given the setting of a user
    monkeypatch.setenv("JFREMOTE_CONFIG_FILE", str(tmp_path / "none.yaml"))
    if level:
        monkeypatch.setenv("JFREMOTE_CLI_LOG_LEVEL", level)

    # When a command logs, and a library does
    show_log()
    logger = logging.getLogger("jfr_mp")
    logger.getChild("hosts").error("no")
    logger.warning("maybe")
    logger.info("well")
    logger.debug("aha")
    logging.getLogger("paramiko").error("Traceback")

    # Then the user sees what was asked for, of jfr-mp only
    assert capsys.readouterr().err.splitlines() == expected
