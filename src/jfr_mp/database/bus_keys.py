"""The public keys that may send commands over the bus between machines."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from pydantic import ValidationError

from jfr_mp.model import Document

if TYPE_CHECKING:
    from jfr_mp.database.connection import Doc, QueueDatabase


class BusKey(Document):
    """A document of the collection.

    Parameters
    ----------
    key
        The public key; the document's `_id`.
    host, user
        The machine and the user that it belongs to, as far as the document says it.
    created_on, revoked_on
        By the server's clock; `revoked_on` is None while the key is admitted.
    """

    key: str
    host: str = ""
    user: str = ""
    created_on: datetime | None = None
    revoked_on: datetime | None = None


_FIELDS = BusKey.model_fields.keys() - {"key"}


def admit(db: QueueDatabase, key: str, host: str, user: str) -> None:
    """Admit a public key, unless it was revoked before."""
    update = {"$setOnInsert": {"host": host, "user": user, "revoked_on": None}, "$currentDate": {"seen_on": True}}
    if db.bus_keys.update_one({"_id": key}, update, upsert=True).upserted_id is not None:
        db.bus_keys.update_one({"_id": key}, {"$currentDate": {"created_on": True}})


def revoke(db: QueueDatabase, key: str) -> int:
    """Revoke the keys that begin with a text; return how many were admitted before."""
    query = {"_id": {"$in": [each.key for each in listed(db) if each.key.startswith(key)]}, "revoked_on": None}
    return db.bus_keys.update_many(query, {"$currentDate": {"revoked_on": True}}).modified_count


def listed(db: QueueDatabase) -> list[BusKey]:
    """Return all keys, the oldest first, those included that another program has put there."""
    found = db.bus_keys.find().sort("created_on", 1)
    return [_key(document) for document in found]


def admitted(db: QueueDatabase) -> frozenset[str]:
    """Return the public keys that are admitted now."""
    return frozenset(str(document["_id"]) for document in db.bus_keys.find({"revoked_on": None}, {"_id": 1}))


def _key(document: Doc) -> BusKey:
    """Read a document, whatever it contains: a key must not be admitted without being listed."""
    key = str(document["_id"])
    try:
        return BusKey.model_validate({**{field: document[field] for field in _FIELDS & document.keys()}, "key": key})
    except ValidationError:
        return BusKey(key=key)
