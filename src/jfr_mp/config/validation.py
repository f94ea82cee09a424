"""Error messages for wrong configurations: they name the field and what is allowed, but never contain a value.

A value may be a password. Therefore pydantic's own messages, which quote the input, are never shown.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from difflib import get_close_matches
from typing import Any

from pydantic import AliasChoices, BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

_OURS = "config"


class ConfigModel(BaseModel):
    """The base of all parts of a project file: unknown fields are refused with a suggestion."""

    model_config = ConfigDict(extra="forbid", defer_build=True, hide_input_in_errors=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_fields(cls, data: Any) -> Any:
        if isinstance(data, Mapping):
            refuse_unknown(data, field_names(cls))
        return data


def field_names(model: type[BaseModel]) -> list[str]:
    """Return the names that are allowed for the fields of `model`, including aliases."""
    names = []
    for name, field in model.model_fields.items():
        alias = field.validation_alias
        names += [str(choice) for choice in alias.choices] if isinstance(alias, AliasChoices) else [name]
    return names


def suggestion(name: str, allowed: Iterable[str]) -> str:
    """Return `` (did you mean 'work_dir'?)`` for the closest allowed name, or an empty string if none is close."""
    close = get_close_matches(name, list(allowed), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def listed(names: Iterable[str]) -> str:
    """Return names as text; `none` if there is no name."""
    return ", ".join(names) or "none"


def invalid(problems: Mapping[str, str]) -> ValidationError:
    """Return a `ValidationError` for the fields in `problems`, with the given reasons.

    If it is raised inside a validator, it becomes part of the error of the whole model, with the right location.
    """
    return ValidationError.from_exception_data(
        "configuration",
        [
            InitErrorDetails(type=PydanticCustomError(_OURS, "{text}", {"text": text}), loc=(field,), input=None)
            for field, text in problems.items()
        ],
    )


@contextmanager
def inside(field: str) -> Iterator[None]:
    """Add `field` to the location of all validation errors raised in the body."""
    try:
        yield
    except ValidationError as error:
        raise invalid({f"{field}.{item['loc'][0]}": item["msg"] for item in error.errors()}) from None


def refuse_unknown(data: Mapping[Any, Any], allowed: Collection[str]) -> None:
    """Raise a `ValidationError` naming the keys of `data` that are not allowed."""
    unknown = [str(key) for key in data if key not in allowed]
    if unknown:
        raise invalid(
            {key: f"unknown field{suggestion(key, allowed)}; allowed: {', '.join(allowed)}" for key in unknown}
        )


def explain(error: ValidationError, data: object) -> list[str]:
    """Return a line ``field.path: what is wrong; what is allowed`` for each wrong field, without any value.

    Parameters
    ----------
    error
        The error raised by pydantic.
    data
        The validated data. pydantic's locations also contain the names of the types that it tried; only the parts of a
        location that occur in the data are meaningful to the user.
    """
    texts: dict[str, list[str]] = {}
    for item in error.errors(include_url=False, include_context=False, include_input=False):
        path = _path(item, data)
        text = _text(item)
        if text not in texts.setdefault(path, []):
            texts[path].append(text)
    # For a field with several possible types, the errors deep inside one of them are the most specific.
    paths = [path for path in texts if not any(other.startswith(f"{path}.") for other in texts)]
    return [f"{path}: {', or '.join(texts[path])}" if path else ", or ".join(texts[path]) for path in paths]


def _path(item: ErrorDetails, data: object) -> str:
    parts = []
    last = len(item["loc"]) - 1
    for position, part in enumerate(item["loc"]):
        absent = position == last and item["type"] in ("missing", _OURS)
        if _holds(data, part):
            data = data[part]  # type: ignore[index]  # `_holds` has found out
        elif position and not absent:
            continue
        parts.append(str(part))
    return ".".join(parts)


def _holds(data: object, part: str | int) -> bool:
    if isinstance(data, list):
        return isinstance(part, int) and part < len(data)
    return isinstance(data, Mapping) and part in data


def _text(item: ErrorDetails) -> str:
    if item["type"] == "missing":
        return "missing, but needed"
    if item["type"] in ("dict_type", "model_type"):
        return "must be a dictionary"
    text = item["msg"].removeprefix("Value error, ")
    text = re.sub(r"^\w+ should ", "must ", text)
    return f"the name {text}" if item["loc"] and item["loc"][-1] == "[key]" else text
