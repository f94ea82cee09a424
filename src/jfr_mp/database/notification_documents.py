"""The documents of notifications, from which the queries of `jfr_mp.database.notifications` derive.

The masters leave out what does not satisfy a query, and `jfr-mp admin check` reports what does not satisfy a model.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import Enum
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from jfr_mp.config.notifications import Occasion
from jfr_mp.database.field_types import IS_DATE
from jfr_mp.model import Document

#: How MongoDB names the types of the fields.
_TYPES: Mapping[type, tuple[str, ...]] = {
    str: ("string",),
    int: ("int", "long"),
    NoneType: ("null",),
}


class NoticeDocument(Document):
    """Something that a rule is about."""

    id: str
    kind: Literal["notice"]
    occasion: Occasion
    rule: str
    key: str
    subject: str
    reference: str
    detail: str
    noticed: datetime
    message: str | None
    done_on: datetime | None = None


class DeliveryDocument(Document):
    """A message for one target."""

    id: str
    kind: Literal["delivery"]
    message: str
    rule: str
    target: str
    title: str
    body: str
    created_on: datetime
    due: datetime
    state: Literal["pending", "sent", "given_up"]
    tries: int
    done_on: datetime | None = None
    error: str | None = None


class ConditionDocument(Document):
    """A state that lasts."""

    id: str
    kind: Literal["condition"]
    since: datetime
    seen: datetime


class ProgressDocument(Document):
    """Up to where events have been read."""

    id: Literal["progress"]
    kind: Literal["progress"]
    begun: datetime
    seen: datetime
    token: str | None


def query_of(model: type[Document]) -> dict[str, Any]:
    """Return the query for documents whose required fields are those of a model.

    A condition of a query also holds for a list, one of whose elements satisfies it; the last condition excludes lists,
    even if another one of the same field replaces the one of the model.
    """
    required = {
        "_id" if name == "id" else name: field.annotation
        for name, field in model.model_fields.items()
        if field.is_required()
    }
    conditions = {name: _condition(annotation) for name, annotation in required.items()}
    return {**conditions, "$nor": [{name: {"$type": "array"}} for name in required]}


def _condition(annotation: Any) -> Any:
    if get_origin(annotation) is Literal:
        return {"$in": list(get_args(annotation))}
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return {"$in": [member.value for member in annotation]}
    if annotation is datetime:
        return IS_DATE
    alternatives = get_args(annotation) or (annotation,)
    return {"$type": [name for each in alternatives for name in _TYPES[each]]}
