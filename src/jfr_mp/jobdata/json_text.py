"""The JSON of the input and the result of a job, which keeps every value: NaN, infinity, times, bytes.

NaN and infinity are written as Python's json module writes them, times and objects in monty's form, and bytes in
MongoDB's extended JSON. jobflow-remote reads all of these.
"""

from __future__ import annotations

import json
from typing import Any


def dump(content: Any) -> bytes:
    """Return JSON text; objects are serialized as monty does."""
    return json.dumps(content, default=_serialized, separators=(",", ":")).encode()


def load(content: bytes) -> Any:
    """Read JSON text written by `dump`, by jobflow-remote or by monty; objects remain dictionaries.

    Raises
    ------
    json.JSONDecodeError
        The text is not JSON.
    """
    import orjson

    from jfr_mp.database import extended_json

    if extended_json.has_bytes(content):
        return extended_json.loads(content)
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError:
        # NaN and infinity are not JSON, but Python writes and reads them.
        return json.loads(content)


def _serialized(value: Any) -> Any:
    from monty.json import MontyEncoder

    from jfr_mp.database import extended_json

    return extended_json.extended(value) if isinstance(value, bytes) else MontyEncoder().default(value)
