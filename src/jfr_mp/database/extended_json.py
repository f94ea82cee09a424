"""MongoDB's extended JSON, for values that JSON cannot express: NaN, infinity, times, bytes.

Format: https://www.mongodb.com/docs/manual/reference/mongodb-extended-json/ (relaxed).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from bson import ObjectId, json_util

_MARK = b'"$binary"'


def documents_as_json(documents: Sequence[dict[str, Any]]) -> bytes:
    """Return documents as a JSON array; extended JSON only if a value needs it.

    Extended documents get an `_id`, because maggma's JSONStore, and therefore jobflow-remote, reads a file as extended
    JSON if it contains an ObjectId. Readers ignore the `_id`.
    """
    try:
        text = json.dumps(documents, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError):
        marked = [{**document, "_id": ObjectId()} for document in documents]
        text = json_util.dumps(marked, json_options=json_util.RELAXED_JSON_OPTIONS)
    return text.encode()


def is_extended(content: bytes) -> bool:
    """Return whether a file of documents is extended JSON, as `documents_as_json` marks it."""
    return b'"$oid"' in content


def extended(value: bytes) -> Any:
    """Return bytes in extended JSON."""
    return json_util.default(value, json_util.RELAXED_JSON_OPTIONS)


def has_bytes(content: bytes) -> bool:
    """Return whether JSON contains bytes in extended form."""
    return _MARK in content


def loads(content: bytes) -> Any:
    """Read extended JSON; NaN and Infinity may be written as Python writes them."""
    return json_util.loads(content)
