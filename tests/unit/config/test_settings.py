from __future__ import annotations

import logging
from pathlib import Path

import pytest

from jfr_mp.config import LogLevel, get_settings
from jfr_mp.errors import ConfigError


@pytest.fixture
def settings_file(tmp_path: Path) -> Path:
    return tmp_path / "settings.yaml"


def test_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a user without settings
    monkeypatch.setenv("HOME", "/home/bob")
    monkeypatch.delenv("JFREMOTE_PROJECTS_FOLDER")
    monkeypatch.delenv("JFREMOTE_CONFIG_FILE")

    # When they are read, then they are jobflow-remote's
    settings = get_settings()
    assert settings.config_file == Path("/home/bob/.jfremote.yaml")
    assert settings.projects_folder == Path("/home/bob/.jfremote")
    assert settings.project is None
    assert settings.cli_log_level is LogLevel.WARN
    assert (settings.cli_full_exc, settings.cli_suggestions, settings.cli_load_plugins) == (False, True, True)
    assert settings.cli_job_list_columns is None


def test_the_environment_goes_before_the_file(settings_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a file and variables
    settings_file.write_text("project: from_file\ncli_log_level: debug\ncli_job_list_columns: [db_id]\n")
    monkeypatch.setenv("JFREMOTE_PROJECT", "from_environment")
    monkeypatch.setenv("JFREMOTE_CLI_FULL_EXC", "true")

    # When the settings are read
    settings = get_settings()

    # Then the variables win, and the file fills the rest
    assert settings.project == "from_environment"
    assert settings.cli_full_exc is True
    assert settings.cli_log_level is LogLevel.DEBUG
    assert settings.cli_job_list_columns == ["db_id"]


@pytest.mark.parametrize(
    ("content", "variables", "expected"),
    [
        ("projct: a\n", {}, "settings.yaml: projct: unknown field (did you mean 'project'?); allowed: config_file,"),
        ("cli_log_level: loud\n", {}, "settings.yaml: cli_log_level: must be 'error', 'warn', 'info' or 'debug'"),
        ("cli_job_list_columns: [1]\n", {}, "settings.yaml: cli_job_list_columns: must be a valid string"),
        ("project: [\n", {}, "settings.yaml, line 2, column 1: is not valid YAML"),
        (
            "",
            {"CLI_FULL_EXC": "maybe"},
            "environment variable JFREMOTE_CLI_FULL_EXC: cli_full_exc: must be a valid boolean",
        ),
        (
            "",
            {"CLI_JOB_LIST_COLUMNS": "a,b"},
            "environment variable JFREMOTE_CLI_JOB_LIST_COLUMNS: cli_job_list_columns: must be a list; in",
        ),
    ],
)
def test_wrong_settings_say_where_they_come_from(
    settings_file: Path, monkeypatch: pytest.MonkeyPatch, content: str, variables: dict[str, str], expected: str
) -> None:
    # Given something wrong
    settings_file.write_text(content)
    for name, value in variables.items():
        monkeypatch.setenv(f"JFREMOTE_{name}", value)

    # When the settings are read, then the error names the file or the variable, the field and what is allowed
    with pytest.raises(ConfigError) as caught:
        get_settings()
    assert expected in str(caught.value)


def test_log_levels_are_those_of_python() -> None:
    assert [level.to_logging() for level in LogLevel] == [logging.ERROR, logging.WARNING, logging.INFO, logging.DEBUG]
