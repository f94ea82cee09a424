"""The filters of `jfr-mp job list` and `jfr-mp flow list` in the query of a URL, under the names of their options."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin
from urllib.parse import urlencode

import typer
from starlette.datastructures import QueryParams

from jfr_mp.cli.filters import FLOW_FILTERS, JOB_FILTERS, FilterRow, flow_filter, job_filter, mapping
from jfr_mp.cli.options import MAX_NUMBER, whole_number
from jfr_mp.errors import InvalidQuery

if TYPE_CHECKING:
    from jfr_mp.database.filters import FlowFilter, JobFilter

_Filter = TypeVar("_Filter")

#: A query of MongoDB's language may run code on the server, so the page takes none.
_LEFT_OUT = ("query",)


def jobs_of(params: QueryParams) -> JobFilter:
    """Return the filter for jobs that a URL describes.

    Raises
    ------
    InvalidQuery
        A value is not possible.
    """
    return _made(job_filter, JOB_FILTERS, params)


def flows_of(params: QueryParams) -> FlowFilter:
    """Return the filter for flows that a URL describes; errors as for `jobs_of`."""
    return _made(flow_filter, FLOW_FILTERS, params)


def priority_of(text: str) -> int:
    """Return a priority, as `jfr-mp job set priority` reads it; errors as for `jobs_of`."""
    return int(_read(whole_number(-MAX_NUMBER), text, "priority"))


def mapping_of(text: str) -> dict[str, Any]:
    """Return keywords with their values, as `jfr-mp job set resources` reads them; errors as for `jobs_of`."""
    return dict(_read(mapping, text, "resources"))


def conditions_in(params: QueryParams, rows: Sequence[FilterRow] = JOB_FILTERS) -> list[tuple[str, str]]:
    """Return the filters among the values of a query, in their order."""
    names = {row.name for row in rows if row.name not in _LEFT_OUT}
    return [(name, value) for name, value in params.multi_items() if name in names and value.strip()]


def with_value(items: Sequence[tuple[str, str]], name: str, value: str) -> str:
    """Return a query to which a value is added, or from which it is removed if it is there."""
    pair = (name, value)
    changed = [item for item in items if item != pair] if pair in items else [*items, pair]
    return urlencode(changed)


def _made(make: Callable[[Mapping[str, Any]], _Filter], rows: Sequence[FilterRow], params: QueryParams) -> _Filter:
    try:
        return make({row.name: _value(row, params) for row in rows})
    except typer.BadParameter as error:
        raise InvalidQuery(error.message) from None


def _value(row: FilterRow, params: QueryParams) -> Any:
    texts = [] if row.name in _LEFT_OUT else [text for text in params.getlist(row.name) if text.strip()]
    if not texts:
        return row.default
    if row.type is bool:
        return True
    read = row.settings.get("parser") or (_date if "formats" in row.settings else str)
    values = [_read(read, text, row.name) for text in texts]
    return values if any(get_origin(kind) is list for kind in get_args(row.type)) else values[-1]


def _read(read: Callable[[str], Any], text: str, name: str) -> Any:
    try:
        return read(text)
    except typer.BadParameter as error:
        raise InvalidQuery(f"{name}: {error.message}") from None


def _date(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a date such as 2026-01-31") from None
