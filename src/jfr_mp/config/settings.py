"""The settings of a user: ``~/.jfremote.yaml`` and the environment variables JFREMOTE_*."""

from __future__ import annotations

import logging
import os
import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from jfr_mp.config.files import load
from jfr_mp.config.validation import explain, field_names, refuse_unknown
from jfr_mp.errors import ConfigError

DEFAULT_CONFIG_FILE = Path("~/.jfremote.yaml")
_PREFIX = "JFREMOTE_"

AbsolutePath = Annotated[Path, AfterValidator(lambda path: path.expanduser().absolute())]


class LogLevel(StrEnum):
    """The log levels."""

    ERROR = "error"
    WARN = "warn"
    INFO = "info"
    DEBUG = "debug"

    def to_logging(self) -> int:
        """Return the corresponding level of Python's logging."""
        return logging.WARNING if self is LogLevel.WARN else logging.getLevelNamesMapping()[self.name]


class Settings(BaseSettings):
    """The settings of a user. Environment variables take precedence over the file."""

    model_config = SettingsConfigDict(env_prefix=_PREFIX.lower(), hide_input_in_errors=True)

    #: The file with the settings; it need not exist.
    config_file: AbsolutePath = DEFAULT_CONFIG_FILE
    #: The folder with the project files.
    projects_folder: AbsolutePath = Path("~/.jfremote")
    #: The project to use if none is given.
    project: str | None = None
    #: Whether the command line shows full tracebacks.
    cli_full_exc: bool = False
    #: Whether the command line shows suggestions.
    cli_suggestions: bool = True
    #: The log level of the command line.
    cli_log_level: LogLevel = LogLevel.WARN
    #: The columns of the list of jobs; None for the default columns.
    cli_job_list_columns: list[str] | None = None
    #: Whether jobflow-remote loads the plug-ins of its command line.
    cli_load_plugins: bool = True

    @model_validator(mode="before")
    @classmethod
    def _fill_from_file(cls, values: dict[str, Any]) -> dict[str, Any]:
        path = _config_file(values.get("config_file"))
        from_file = load(path) if path.exists() else {}
        refuse_unknown(from_file, field_names(cls))
        return {**from_file, **values}

    @field_validator("cli_job_list_columns", mode="before")
    @classmethod
    def _explain_lists(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise ValueError('must be a list; in an environment variable as JSON, such as ["db_id", "state"]')
        return value


#: The environment variables that are settings.
VARIABLES = tuple(f"{_PREFIX}{name.upper()}" for name in Settings.model_fields)


def unknown_variables() -> list[str]:
    """Return the environment variables that have the prefix of settings and are none."""
    return [name for name in os.environ if name.upper().startswith(_PREFIX) and name.upper() not in VARIABLES]


def get_settings() -> Settings:
    """Return the settings from the current environment and file.

    Raises
    ------
    ConfigError
        The file cannot be parsed, or a field in the file or in the environment is wrong.
    """
    try:
        return Settings()
    except ValidationError as error:
        lines = [f"{_source(re.split('[.:]', line)[0])}{line}" for line in explain(error, {})]
        raise ConfigError("\n".join(lines)) from None


def _config_file(value: str | Path | None) -> Path:
    return Path(value or DEFAULT_CONFIG_FILE).expanduser()


def _source(field: str) -> str:
    """Return the origin of a field for an error message: an environment variable, or the file."""
    environment = {name.upper(): value for name, value in os.environ.items()}
    if f"{_PREFIX}{field.upper()}" in environment:
        return f"environment variable {_PREFIX}{field.upper()}: "
    return f"{_config_file(environment.get(f'{_PREFIX}CONFIG_FILE'))}: "
