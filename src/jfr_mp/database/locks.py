"""Locks on single documents: `lock_id` and `lock_time` have the same meaning as in jobflow-remote."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from copy import deepcopy
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from pymongo import ReturnDocument
from pymongo.errors import OperationFailure, PyMongoError

from jfr_mp.errors import LeaseLost

if TYPE_CHECKING:
    from pymongo.collection import Collection

logger = logging.getLogger(__name__)

Doc = dict[str, Any]
Pipeline = list[Doc]

LOCK_ID = "lock_id"
LOCK_TIME = "lock_time"

#: The fields that release a lock, for a `$set`.
UNLOCKED: Mapping[str, None] = {LOCK_ID: None, LOCK_TIME: None}


class MongoLock:
    """A context manager that locks one document of a collection.

    The document is found and locked by one atomic operation. Inside the context, `locked_document` is the document, or
    None if no document matched or another process holds the lock. Leaving the context applies `update_on_release` (or
    deletes the document, for `delete_on_release`) and unlocks, in one write that is fenced by the id of the lock. If
    the body raises, only the lock is released.

    Parameters
    ----------
    collection
        The collection of the document.
    filter
        The query that selects the document.
    update
        An update to apply together with locking.
    break_lock
        Whether to lock the document even if another process holds it.
    lock_id
        The id of the lock; a random one by default.
    sleep
        Seconds between attempts while another process holds the document; None does not wait.
    max_wait
        The maximum number of seconds to wait.
    projection
        The fields to fetch.
    get_locked_doc
        Whether to fetch the document as `unavailable_document` if another process holds it.
    **kwargs
        Arguments for `find_one_and_update`, such as ``sort`` or ``session``.

    Raises
    ------
    LeaseLost
        On leaving, if the lock was lost in the meantime; nothing was written.
    """

    LOCK_KEY = LOCK_ID
    LOCK_TIME_KEY = LOCK_TIME

    def __init__(  # noqa: PLR0913, PLR0917 - the reference's signature
        self,
        collection: Collection[Doc],
        filter: Mapping[str, Any],
        update: Mapping[str, Any] | None = None,
        break_lock: bool = False,
        lock_id: str | None = None,
        sleep: float | None = None,
        max_wait: float = 600,
        projection: Mapping[str, Any] | Iterable[str] | None = None,
        get_locked_doc: bool = False,
        **kwargs: Any,
    ) -> None:
        self.collection = collection
        self.filter = filter or {}
        self.update = update
        self.break_lock = break_lock
        self.lock_id = lock_id or str(uuid.uuid4())
        self.sleep = sleep
        self.max_wait = max_wait
        self.projection = projection
        self.get_locked_doc = get_locked_doc
        self.kwargs = kwargs
        self.locked_document: Doc | None = None
        self.unavailable_document: Doc | None = None
        self._update_on_release: Doc | Pipeline = {}
        self._delete_on_release = False

    @property
    def update_on_release(self) -> Doc | Pipeline:
        """The update, or the aggregation pipeline, that the release applies."""
        return self._update_on_release

    @update_on_release.setter
    def update_on_release(self, value: Doc | Pipeline) -> None:
        if self._delete_on_release:
            raise ValueError("update_on_release cannot be combined with delete_on_release")
        self._update_on_release = value

    @property
    def delete_on_release(self) -> bool:
        """Whether the release deletes the document."""
        return self._delete_on_release

    @delete_on_release.setter
    def delete_on_release(self, value: bool) -> None:
        if self._update_on_release:
            raise ValueError("delete_on_release cannot be combined with update_on_release")
        self._delete_on_release = value

    @property
    def is_locked(self) -> bool:
        """Whether the document could not be locked; for use inside the context."""
        return self.locked_document is None

    @classmethod
    def get_lock_id(cls, document: Mapping[str, Any]) -> str | None:
        """Return the id of the lock on a document."""
        return document.get(LOCK_ID)

    @classmethod
    def get_lock_time(cls, document: Mapping[str, Any]) -> Any:
        """Return the time at which a document was locked, in UTC."""
        return document.get(LOCK_TIME)

    @classmethod
    def held(cls, collection: Collection[Doc], document: Mapping[str, Any], lock_id: str) -> Self:
        """Return the lock on a document that is locked already."""
        lock = cls(collection, {"_id": document["_id"]}, lock_id=lock_id)
        lock.locked_document = dict(document)
        return lock

    def acquire(self) -> None:
        """Lock the document; wait for it if `sleep` is given."""
        deadline = time.monotonic() + self.max_wait
        while True:
            try:
                found = self._find_and_lock()
            except OperationFailure:
                self._free_in_doubt()
                raise
            if found is None or found.get(LOCK_ID) == self.lock_id:
                self.locked_document = found
                return
            if not self.sleep or time.monotonic() >= deadline:
                self.unavailable_document = found
                return
            time.sleep(self.sleep)

    def _free_in_doubt(self) -> None:
        """Free a lock that a primary may have set, although it cannot say whether the other members have it.

        No other process would: the owner is alive. A transaction is aborted together with its locks.
        """
        if "session" not in self.kwargs:
            with suppress(PyMongoError):
                self.collection.update_one({LOCK_ID: self.lock_id}, {"$set": dict(UNLOCKED)})

    def _find_and_lock(self) -> Doc | None:
        query = deepcopy(dict(self.filter))
        if not (self.break_lock or self._sees_locked):
            query[LOCK_ID] = None
        return self.collection.find_one_and_update(
            query,
            self._locking_update(),
            projection=self._projection_with_lock(),
            return_document=ReturnDocument.AFTER,
            **self.kwargs,
        )

    @property
    def _sees_locked(self) -> bool:
        """Whether the query also matches locked documents, to distinguish 'locked' from 'not found'."""
        return bool(self.sleep or self.get_locked_doc)

    def _locking_update(self) -> Doc | Pipeline:
        update = deepcopy(dict(self.update or {}))
        update["$set"] = {**update.get("$set", {}), LOCK_ID: self.lock_id}
        if self.break_lock or not self._sees_locked:
            # The clock of the server, so that the age of a lock does not depend on the clocks of the clients.
            return {**update, "$currentDate": {**update.get("$currentDate", {}), LOCK_TIME: True}}
        if set(update) != {"$set"}:
            raise ValueError("with `sleep` or `get_locked_doc`, the update may contain only $set")
        news = {**{key: {"$literal": value} for key, value in update["$set"].items()}, LOCK_TIME: "$$NOW"}
        held = {"$gt": [f"${LOCK_ID}", None]}
        return [{"$set": {key: {"$cond": [held, f"${key}", new]} for key, new in news.items()}}]

    def _projection_with_lock(self) -> Mapping[str, Any] | list[str] | None:
        if not self.projection:
            return None
        if not isinstance(self.projection, Mapping):
            return [*self.projection, LOCK_ID, LOCK_TIME]
        excludes = not any(shown for key, shown in self.projection.items() if key != "_id")
        return self.projection if excludes else {**self.projection, LOCK_ID: 1, LOCK_TIME: 1}

    def forget(self) -> None:
        """Do nothing on leaving, because another write has released the lock already."""
        self.locked_document = None

    def release(
        self,
        exc_type: type[BaseException] | None = None,
        exc_val: BaseException | None = None,
        exc_tb: TracebackType | None = None,
    ) -> None:
        """Apply the pending update or deletion and unlock, in one write; do nothing if the document is not locked.

        Raises
        ------
        LeaseLost
            The lock was lost. If the body raised, this is only logged, so that the original exception is not hidden.
        """
        if self.locked_document is None:
            return
        failed = exc_type is not None
        if failed and (self._update_on_release or self._delete_on_release):
            logger.warning("%s was raised while %s was locked: the document is unchanged", exc_type, self._what())
        fence = {"_id": self.locked_document["_id"], LOCK_ID: self.lock_id}
        if self._delete_on_release and not failed:
            held = self.collection.delete_one(fence).deleted_count
        else:
            held = self.collection.update_one(fence, self._releasing_update(failed)).matched_count
        what, self.locked_document = self._what(), None
        if held:
            return
        if not failed:
            raise LeaseLost(f"the lock {self.lock_id} on {what} was lost; nothing was written")
        logger.warning("the lock %s on %s was lost", self.lock_id, what)

    def _releasing_update(self, failed: bool) -> Doc | Pipeline:
        unlock: Doc = {"$set": dict(UNLOCKED)}
        if failed or not self._update_on_release:
            return unlock
        if isinstance(self._update_on_release, list):
            return [unlock, *self._update_on_release]
        return {**self._update_on_release, "$set": {**self._update_on_release.get("$set", {}), **UNLOCKED}}

    def _what(self) -> str:
        return f"{self.collection.name} {(self.locked_document or {}).get('_id')}"

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        self.release(exc_type, exc_val, exc_tb)
