"""What the documents of jfr-mp's own collections must be like, for `jfr_mp.database.consistency`.

The masters leave out a document that is damaged. It stays in the database all the same: an order that is never carried
out, a message that is never sent, a key that is admitted without a name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from jfr_mp.database.bus_keys import BusKey
from jfr_mp.database.invariants import DAMAGED, Circumstances, Violation, damaged
from jfr_mp.database.notification_documents import (
    ConditionDocument,
    DeliveryDocument,
    NoticeDocument,
    ProgressDocument,
)
from jfr_mp.database.orders import MasterOrder
from jfr_mp.database.paused_workers import PausedWorker
from jfr_mp.database.processes import ProcessRecord
from jfr_mp.model import Document

if TYPE_CHECKING:
    from pymongo.collection import Collection

    from jfr_mp.database.connection import Doc, QueueDatabase


class _Lease(Document):
    id: str
    owner: str
    since: datetime | None = None


class _LostMaster(ProcessRecord):
    heartbeat: datetime


#: The kinds of documents of notifications; a document of another kind is read as a notice, and lacks its fields.
_NOTIFICATIONS: Mapping[str, type[Document]] = {
    "notice": NoticeDocument,
    "delivery": DeliveryDocument,
    "condition": ConditionDocument,
    "progress": ProgressDocument,
}


@dataclass(frozen=True)
class OwnCollection:
    """One of jfr-mp's own collections.

    Parameters
    ----------
    collection
        Returns it.
    model
        Returns the model of a document.
    key
        The field of the model that is the document's `_id`.
    times
        The fields that the server's clock has written: one that is far ahead keeps the document in effect until then.
    """

    collection: Callable[[QueueDatabase], Collection[Doc]]
    model: Callable[[Mapping[str, Any]], type[Document]]
    key: str = "id"
    times: tuple[str, ...] = ()

    def violations(self, db: QueueDatabase, query: Doc, around: Circumstances) -> Iterator[Violation | None]:
        """Yield what is wrong with each document of a query, or None."""
        collection = self.collection(db)
        for document in collection.find(query):
            yield self._violation(document, collection.name, around)

    def _violation(self, document: Doc, name: str, around: Circumstances) -> Violation | None:
        try:
            read = self.model(document).model_validate({**document, self.key: document["_id"]})
        except ValidationError as error:
            return damaged(document, name, "_id", error)
        for field in self.times:
            time = getattr(read, field)
            if time is not None and time > around.latest_now:
                problem = f"its {field} is {time:%F %T} UTC, which is in the future: it stays in effect until then"
                repair = "jfr-mp admin reconcile --delete-damaged"
                return Violation(DAMAGED, name, str(document["_id"]), problem, repair, document["_id"])
        return None


def _notification(document: Mapping[str, Any]) -> type[Document]:
    kind = document.get("kind")
    return _NOTIFICATIONS.get(kind, NoticeDocument) if isinstance(kind, str) else NoticeDocument


#: Those collections by the section of the check.
OWN_COLLECTIONS = {
    "processes": OwnCollection(lambda db: db.processes, lambda _: ProcessRecord, times=("heartbeat",)),
    "lost masters": OwnCollection(lambda db: db.lost_masters, lambda _: _LostMaster, times=("heartbeat",)),
    "leases": OwnCollection(lambda db: db.leases, lambda _: _Lease),
    "orders": OwnCollection(lambda db: db.orders, lambda _: MasterOrder, times=("created_on",)),
    "bus keys": OwnCollection(lambda db: db.bus_keys, lambda _: BusKey, "key"),
    "paused workers": OwnCollection(lambda db: db.paused_workers, lambda _: PausedWorker, "worker"),
    "notifications": OwnCollection(lambda db: db.notifications, _notification),
}
