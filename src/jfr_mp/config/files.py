"""Reading and writing configuration files: YAML, JSON and TOML.

An error names the file, the line or field, and the problem. It never quotes a value, which may be a password.
"""

from __future__ import annotations

import json
import os
import re
import stat
import tempfile
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from jfr_mp.config.validation import explain
from jfr_mp.errors import ConfigError

#: The fields of a password, and a URI that contains one.
_PASSWORDS = ("password", "passphrase")
_URI_WITH_PASSWORD = re.compile(r"://[^/@:\s]+:[^/@\s]+@")

Model = TypeVar("Model", bound=BaseModel)


def load(path: Path) -> dict[str, Any]:
    """Return the content of a file; see `parse`."""
    return parse(path, read_text(path))


def read_text(path: Path) -> str:
    """Return the text of a file.

    Raises
    ------
    ConfigError
        The file cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}; check the path and its permissions") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text (byte {error.start}); save it as UTF-8") from None


def parse(path: Path, text: str) -> dict[str, Any]:
    """Return the content of a text in the format that the suffix of its file names; JSON if the suffix is unknown.

    Returns
    -------
    dict
        The fields of the file; an empty file has none.

    Raises
    ------
    ConfigError
        The text cannot be parsed, or does not contain named fields.
    """
    data = _PARSERS.get(path.suffix.lower(), _parse_json)(path, text)
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: must contain named fields (`name: value`), not a {type(data).__name__}")
    return data


def validate(model: type[Model], data: Mapping[str, Any], path: Path, context: dict[str, Any] | None = None) -> Model:
    """Return a `model` built from the fields of the file `path`.

    Raises
    ------
    ConfigError
        Fields are wrong; the message has one line for each, ``file: field.path: what is wrong; what is allowed``.
    """
    try:
        return model.model_validate(data, context=context)
    except ValidationError as error:
        raise ConfigError("\n".join(f"{path}: {line}" for line in explain(error, data))) from None


def dump(path: Path, data: Mapping[str, Any]) -> None:
    """Write `data` atomically, in the format that the suffix of `path` names, with access for the owner only.

    Raises
    ------
    ConfigError
        The file cannot be written; an existing file is unchanged.
    """
    _write(path, lambda file: _WRITERS[path.suffix.lower()](data, file, path))


def write_text(path: Path, text: str) -> None:
    """Write a text atomically, with access for the owner only.

    Raises
    ------
    ConfigError
        The file cannot be written; an existing file is unchanged.
    """
    _write(path, lambda file: file.write(text))


def _write(path: Path, write: Callable[[Any], object]) -> None:
    # A symbolic link to a file that is kept elsewhere is preserved.
    target = path.resolve()
    temporary = None
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(target)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}; check the folder's permissions") from None
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def exposes_password(path: Path) -> bool:
    """Return whether a file contains a password and other users can read it."""
    return bool(path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH)) and _has_password(load(path))


def _has_password(value: Any) -> bool:
    if isinstance(value, Mapping):
        named = any(item and str(name).lower() in _PASSWORDS for name, item in value.items())
        return named or _has_target(value.get("targets")) or any(_has_password(item) for item in value.values())
    if isinstance(value, list):
        return any(map(_has_password, value))
    return isinstance(value, str) and _URI_WITH_PASSWORD.search(value) is not None


def _has_target(targets: Any) -> bool:
    """Return whether there is a target of notifications with a URL: with most services, any part of it is a secret."""
    return isinstance(targets, Mapping) and any(
        isinstance(target, Mapping) and bool(target.get("url")) for target in targets.values()
    )


def _parse_yaml(path: Path, text: str) -> Any:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError
    from ruamel.yaml.reader import ReaderError

    try:
        # The pure-Python parser implements YAML 1.2, in which `no` and `on` are text; the C parser does not.
        return YAML(typ="safe", pure=True).load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = "" if mark is None else f", line {mark.line + 1}, column {mark.column + 1}"
        raise ConfigError(f"{path}{line}: is not valid YAML: {_before_quotation(error.problem)}") from None
    except ReaderError as error:
        number = text.count("\n", 0, error.position) + 1
        raise ConfigError(f"{path}, line {number}: is not valid YAML: a character is not allowed") from None
    except (YAMLError, ValueError, RecursionError):
        # For example a date in month 13; the parser reports neither the line nor the field.
        raise ConfigError(f"{path}: is not valid YAML: it contains an impossible value, such as a wrong date") from None


def _before_quotation(problem: str | None) -> str:
    """Return a parser message up to the first quotation of the file, which may be a password.

    Quoted punctuation and token names are kept.
    """
    harmless = re.match(r"""([^'"]|'<[\w ]+>'|'.{1,2}')*""", problem or "")
    return (harmless[0].rstrip() if harmless else "") or "it cannot be parsed"


def _parse_json(path: Path, text: str) -> Any:
    try:
        return json.loads(text) if text.strip() else None
    except json.JSONDecodeError as error:
        where = f"{path}, line {error.lineno}, column {error.colno}"
        raise ConfigError(f"{where}: is not valid JSON: {error.msg}") from None
    except RecursionError:
        raise ConfigError(f"{path}: is not valid JSON: nested too deeply") from None
    except ValueError:
        raise ConfigError(f"{path}: is not valid JSON: a number has too many digits") from None


def _parse_toml(path: Path, text: str) -> Any:
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: is not valid TOML: {error}") from None


def _write_yaml(data: Mapping[str, Any], file: Any, path: Path) -> None:
    """Write YAML; what has not changed in a file that exists stays as the user wrote it, with comments and quotes."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    yaml = YAML()
    yaml.default_flow_style = False
    yaml.preserve_quotes = True
    # Longer lines would be folded.
    yaml.width = 4096
    try:
        old = yaml.load(path) if path.exists() else None
    except (YAMLError, ValueError):
        old = None
    if isinstance(old, dict) and not _has_aliases(old):
        _update(old, data)
        yaml.dump(old, file)
    else:
        yaml.dump(dict(data), file)


def _has_aliases(value: Any, seen: set[int] | None = None) -> bool:
    """Return whether a part of a YAML file stands in several places: a change of one would be one of all."""
    seen = set() if seen is None else seen
    if not isinstance(value, dict | list):
        return False
    if id(value) in seen or getattr(value, "merge", None):
        return True
    seen.add(id(value))
    return any(_has_aliases(item, seen) for item in (value.values() if isinstance(value, dict) else value))


def _update(old: dict[str, Any], new: Mapping[str, Any]) -> None:
    """Make a mapping equal to another one, and touch only what differs."""
    for key in [key for key in old if key not in new]:
        del old[key]
    for key, value in new.items():
        before = old.get(key)
        if isinstance(before, dict) and isinstance(value, Mapping):
            _update(before, value)
        elif key not in old or before != value or isinstance(before, bool) is not isinstance(value, bool):
            old[key] = value


def _write_json(data: Mapping[str, Any], file: Any, _: Path) -> None:
    json.dump(data, file, indent=2)
    file.write("\n")


def _write_toml(data: Mapping[str, Any], file: Any, _: Path) -> None:
    import tomlkit

    tomlkit.dump(_without_none(data), file)


def _without_none(value: Any) -> Any:
    """Return `value` without fields that are None, at any depth, because TOML has no null value."""
    if isinstance(value, Mapping):
        return {key: _without_none(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_none(item) for item in value if item is not None]
    return value


_PARSERS: dict[str, Callable[[Path, str], Any]] = {".yaml": _parse_yaml, ".yml": _parse_yaml, ".toml": _parse_toml}
_WRITERS: dict[str, Callable[[Mapping[str, Any], Any, Path], None]] = {
    ".yaml": _write_yaml,
    ".json": _write_json,
    ".toml": _write_toml,
}
