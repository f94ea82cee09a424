"""The types of fields in queries and in what they return: one damaged document must not hide all others.

MongoDB compares a condition with each element of a list as well, so that a list of dates has the type of a date; and
one value of a wrong type makes a whole aggregation fail. What the server passes over here, `jfr-mp admin check` names.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

_NO_LIST = {"$not": {"$type": "array"}}
#: The end of the times that Python has.
LATEST = datetime(9999, 12, 30, tzinfo=UTC)
#: The condition that a field is a time which Python can represent: a comparison holds for values of its type only.
IS_DATE: Mapping[str, Any] = {
    "$gt": datetime(1, 1, 2, tzinfo=UTC),
    "$lt": LATEST,
    **_NO_LIST,
}
#: The condition that a field is a text.
IS_TEXT: Mapping[str, Any] = {"$type": "string", **_NO_LIST}


def date_or_null(name: str) -> dict[str, Any]:
    """Return an expression for a field that is a time; null if it is not. Unlike a condition, an index answers it."""
    return {"$cond": [{"$eq": [{"$type": f"${name}"}, "date"]}, f"${name}", None]}


def milliseconds_between(begin: str, end: str) -> dict[str, Any]:
    """Return an expression for the milliseconds between two fields; null if one of them is not a time."""
    return {"$subtract": [date_or_null(end), date_or_null(begin)]}


def length_of(name: str) -> dict[str, Any]:
    """Return an expression for the length of a list; 0 if the field is not one."""
    return {"$cond": [{"$isArray": f"${name}"}, {"$size": f"${name}"}, 0]}


def texts(value: Any) -> list[str]:
    """Return the texts of a list; none if it is not a list."""
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def text(value: Any) -> str | None:
    """Return a text, or None for any other value."""
    return value if isinstance(value, str) else None


def fields(value: Any) -> Mapping[str, Any]:
    """Return an embedded document, or an empty one for any other value."""
    return value if isinstance(value, Mapping) else {}


def utc(value: Any) -> datetime | None:
    """Return a time in UTC, or None for any other value."""
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) else None
