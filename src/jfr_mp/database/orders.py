"""Orders: commands to masters that travel through the database, for masters that no bus reaches.

An order is taken once, by the master that it names, before it expires; all times are the server's. Its sender removes
it, read or not, so that an order whose sender has given up is not carried out later.
"""

from __future__ import annotations

import logging
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pydantic import Field, ValidationError
from pymongo import ReturnDocument

from jfr_mp.database.faults import fields_of
from jfr_mp.database.processes import seconds_ago
from jfr_mp.model import Document

if TYPE_CHECKING:
    from jfr_mp.database.connection import Doc, QueueDatabase

logger = logging.getLogger(__name__)


class MasterOrder(Document):
    """A document of the collection.

    Parameters
    ----------
    id
        The document's `_id`, which is the id of the command on a bus, too.
    master
        The owner id of the master that is to carry it out.
    name, arguments
        The command, as in a message of the bus.
    sender
        Who gave it, for the log.
    created_on, taken_on
        When it was given, and when the master took it; None before that.
    done, text
        The reply; None until there is one.
    """

    id: str
    master: str
    name: str
    arguments: dict[str, Any] = Field(default_factory=dict)
    sender: str
    created_on: datetime | None = None
    taken_on: datetime | None = None
    done: bool | None = None
    text: str = ""


def give(db: QueueDatabase, order: MasterOrder) -> MasterOrder:
    """Give an order to a master, which takes it with its next heartbeat."""
    fields: Doc = order.model_dump(exclude={"id", "created_on"})
    db.orders.update_one({"_id": order.id}, {"$set": fields, "$currentDate": {"created_on": True}}, upsert=True)
    return order


def take(db: QueueDatabase, master: str, lifetime: float) -> list[MasterOrder]:
    """Take the orders of a master that are at most `lifetime` seconds old, each once, oldest first.

    A document that is not an order is taken as well, so that it stops none of the others, and is not returned.
    """
    fresh = {"$expr": {"$gte": ["$created_on", seconds_ago(lifetime)]}}
    taken: list[MasterOrder] = []
    while True:
        found = db.orders.find_one_and_update(
            {"master": master, "taken_on": None, **fresh},
            {"$currentDate": {"taken_on": True}},
            sort=[("created_on", 1)],
            return_document=ReturnDocument.AFTER,
        )
        if found is None:
            return taken
        try:
            taken.append(_order(found))
        except ValidationError as error:
            fields = fields_of(error)
            where = db.orders.name
            logger.warning("the document %s in %s is not an order: %s; not carried out", found["_id"], where, fields)


def answer(db: QueueDatabase, order: MasterOrder, *, done: bool, text: str) -> None:
    """Write the reply to an order, unless its sender has removed it."""
    db.orders.update_one({"_id": order.id}, {"$set": {"done": done, "text": text}})


def read(db: QueueDatabase, order: MasterOrder) -> MasterOrder | None:
    """Return the current state of an order; None if it was removed."""
    found = db.orders.find_one({"_id": order.id})
    return _order(found) if found else None


def withdraw(db: QueueDatabase, order: MasterOrder) -> None:
    """Remove an order: if it was not taken, it will not be carried out."""
    db.orders.delete_one({"_id": order.id})


def forget_old(db: QueueDatabase, seconds: float) -> None:
    """Remove the orders that are older than this, which senders that were killed left."""
    db.orders.delete_many({"$expr": {"$lt": ["$created_on", seconds_ago(seconds)]}})


def _order(document: Doc) -> MasterOrder:
    return MasterOrder.model_validate({**document, "id": document["_id"]})
