"""The outbox of notifications: what has been noticed, the messages made of it, and their deliveries.

One collection holds all of it, so that any master can go on where another one was killed:

- ``notice``: something that a rule is about. Its id is derived from what has happened, so that it is stored once,
  however often the events are read. It waits without `message` until the rule may send, then it belongs to one message.
- ``delivery``: a message for one target. Its id is that of the message and the target. Taking it hides it for a while;
  if it is neither sent nor failed by then, the process that took it was killed, and it is taken again.
- ``condition``: a state that lasts, such as a host that is down, and since when.
- ``progress``: up to where events have been read.

A damaged document stops none of the others: queries ask for the types of the fields. `jfr-mp admin check` reports it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from pymongo import ReturnDocument, UpdateOne
from pymongo.errors import BulkWriteError

from jfr_mp.database.field_types import IS_DATE, IS_TEXT
from jfr_mp.database.notification_documents import DeliveryDocument, NoticeDocument, query_of

if TYPE_CHECKING:
    from jfr_mp.database.connection import Doc, QueueDatabase

#: What has been done is forgotten after this time; until then it cannot be noticed again.
_FORGET_AFTER = timedelta(days=7)
#: A condition that has not been seen for this time is over.
_OVER_AFTER = timedelta(seconds=60)
#: Seconds before a failed delivery is retried: doubled each time, up to the second value.
_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 3600.0
#: The time after which a delivery is given up.
_GIVE_UP_AFTER = timedelta(days=1)
_DUPLICATE_KEY = 11000
_PROGRESS = "progress"
#: The longest subject and detail that are kept.
_LONGEST_SUBJECT, _LONGEST_DETAIL = 300, 1000

#: The whole documents of notices and deliveries.
_NOTICE, _DELIVERY = query_of(NoticeDocument), query_of(DeliveryDocument)


@dataclass(frozen=True)
class Notice:
    """Something that a rule is about.

    Parameters
    ----------
    rule, occasion
        The name of the rule, and one of its occasions.
    key
        What it is, apart from the rule: the same if it is noticed again.
    subject
        What it happened to, such as ``job 12 (relax)``.
    reference
        What a command needs to show it, such as ``12``.
    detail
        What is known about it, such as the last line of an error.
    """

    rule: str
    occasion: str
    key: str
    subject: str
    reference: str = ""
    detail: str = ""

    @property
    def id(self) -> str:
        """The `_id` of its document."""
        return f"notice/{self.rule}/{self.key}"

    def as_dict(self) -> dict[str, str]:
        """Return its fields for the database, where long texts have no use."""
        return {
            **asdict(self),
            "subject": self.subject[:_LONGEST_SUBJECT],
            "detail": self.detail[:_LONGEST_DETAIL],
        }


@dataclass(frozen=True)
class Bundle:
    """The notices of one message.

    Parameters
    ----------
    message, rule
        The id of the message, and the name of the rule.
    counts
        The number of notices by occasion.
    first
        The first of them.
    """

    message: str
    rule: str
    counts: Mapping[str, int]
    first: Sequence[Notice]


@dataclass(frozen=True)
class Delivery:
    """A message for one target.

    Parameters
    ----------
    id, message, rule, target
        The id of the delivery and of its message, the name of its rule and of its target.
    title, body
        The text.
    created_on
        When the message was made.
    state
        ``pending``, ``sent`` or ``given_up``.
    tries
        How often it was tried.
    error
        Why the last attempt failed.
    """

    id: str
    message: str
    rule: str
    target: str
    title: str
    body: str
    created_on: datetime
    state: str = "pending"
    tries: int = 0
    error: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {**asdict(self), "created_on": self.created_on.isoformat()}


@dataclass
class ReadingProgress:
    """Up to where the events have been read.

    Parameters
    ----------
    begun
        When the project was watched for the first time; what happened before is not reported.
    seen
        The time up to which all events were read.
    token
        The token of the last event of a job.
    """

    begun: datetime
    seen: datetime
    token: str | None = None


class Outbox:
    """The outbox of a project.

    Parameters
    ----------
    db
        The queue database.
    """

    def __init__(self, db: QueueDatabase) -> None:
        self._db = db
        self._box = db.notifications

    def prepare(self) -> None:
        """Create the missing indexes."""
        self._box.create_index("done_on", expireAfterSeconds=int(_FORGET_AFTER.total_seconds()))
        self._box.create_index([("kind", 1), ("rule", 1), ("message", 1), ("noticed", 1)])

    # Noticing

    def progress(self) -> ReadingProgress | None:
        """Return up to where the events have been read; None if none ever was."""
        found = self._box.find_one({"_id": _PROGRESS, "begun": IS_DATE, "seen": IS_DATE})
        if found is None:
            return None
        token = found.get("token")
        return ReadingProgress(
            found["begun"].replace(tzinfo=UTC),
            found["seen"].replace(tzinfo=UTC),
            token if isinstance(token, str) else None,
        )

    def save(self, progress: ReadingProgress) -> None:
        """Store up to where the events have been read; what was noticed there must be stored already."""
        self._box.replace_one({"_id": _PROGRESS}, {"kind": "progress", **asdict(progress)}, upsert=True)

    def add(self, notices: Iterable[Notice]) -> None:
        """Store notices; an earlier one with the same id stays as it is."""
        now = self._db.server_time()
        new = {"kind": "notice", "message": None, "noticed": now}
        writes = [
            UpdateOne({"_id": notice.id}, {"$setOnInsert": {**new, **notice.as_dict()}}, upsert=True)
            for notice in notices
        ]
        if not writes:
            return
        try:
            self._box.bulk_write(writes, ordered=False)
        except BulkWriteError as error:
            if any(each["code"] != _DUPLICATE_KEY for each in error.details["writeErrors"]):
                raise

    def hold_since(self, keys: Collection[str]) -> dict[str, datetime]:
        """Return since when each condition that holds now has held; the others are over after a while.

        A host seems to be reachable for a moment when a process is restarted, hence the while.
        """
        now = self._db.server_time()
        for key in keys:
            fields = {"$setOnInsert": {"kind": "condition", "since": now}, "$set": {"seen": now}}
            self._box.update_one({"_id": f"condition/{key}"}, fields, upsert=True)
        self._box.delete_many({"kind": "condition", "seen": {"$lt": now - _OVER_AFTER}})
        found = self._box.find(
            {"kind": "condition", "since": IS_DATE, "_id": {"$in": [f"condition/{key}" for key in keys]}}
        )
        return {each["_id"].partition("/")[2]: each["since"].replace(tzinfo=UTC) for each in found}

    # Messages

    def rules_with_notices(self) -> list[str]:
        """Return the names of the rules that have notices which are part of no message that is ready."""
        return sorted(self._box.distinct("rule", {**_NOTICE, "done_on": {"$exists": False}}))

    def bundle(self, rule: str, *, interval: float, gather: float, most: int) -> Bundle | None:
        """Return the notices of the next message of a rule, or None if it may not send yet.

        Parameters
        ----------
        interval
            The least time between two messages, in seconds.
        gather
            How long to wait for more notices after the first one, in seconds.
        most
            How many notices to return.
        """
        waiting = {**_NOTICE, "rule": rule, "done_on": {"$exists": False}}
        begun = self._box.find_one({**waiting, "message": IS_TEXT})
        if begun is not None:
            return self._read_bundle(rule, begun["message"], most)
        first = self._box.find_one({**waiting, "message": None}, sort=[("noticed", 1)])
        last = self._box.find_one({**_DELIVERY, "rule": rule}, sort=[("created_on", -1)])
        now = self._db.server_time()
        if first is None or _seconds(now, first["noticed"]) < gather:
            return None
        if last is not None and _seconds(now, last["created_on"]) < interval:
            return None
        message = uuid4().hex[:12]
        self._box.update_many({**waiting, "message": None}, {"$set": {"message": message}})
        return self._read_bundle(rule, message, most)

    def _read_bundle(self, rule: str, message: str, most: int) -> Bundle:
        of_message = {**_NOTICE, "rule": rule, "message": message}
        first = self._box.find(of_message, sort=[("noticed", 1), ("_id", 1)], limit=most)
        group = {"$group": {"_id": "$occasion", "count": {"$sum": 1}}}
        counts = {row["_id"]: row["count"] for row in self._box.aggregate([{"$match": of_message}, group])}
        names = Notice.__dataclass_fields__
        return Bundle(message, rule, counts, [Notice(**{name: each[name] for name in names}) for each in first])

    def post(self, bundle: Bundle, targets: Iterable[str], title: str, body: str) -> None:
        """Have a message delivered to targets, and its notices done."""
        now = self._db.server_time()
        for target in targets:
            fields = {
                **{"kind": "delivery", "message": bundle.message, "rule": bundle.rule, "target": target},
                **{"title": title, "body": body, "created_on": now, "due": self._due(target, now)},
                **{"state": "pending", "tries": 0},
            }
            self._box.update_one({"_id": f"{bundle.message}/{target}"}, {"$setOnInsert": fields}, upsert=True)
        done = {"$set": {"done_on": now}}
        self._box.update_many({"kind": "notice", "rule": bundle.rule, "message": bundle.message}, done)

    def _due(self, target: str, now: datetime) -> datetime:
        """Return when a new message may be sent: with the next attempt, if the target has failed last."""
        failing = {**_pending(target), "tries": {"$gt": 0}, "due": {**IS_DATE, "$gt": now}, "taken": False}
        found = self._box.find_one(failing, sort=[("due", 1)])
        return found["due"].replace(tzinfo=UTC) if found else now

    def drop(self, rule: str) -> None:
        """Have the notices done of a rule that the project no longer has."""
        done = {"$set": {"done_on": self._db.server_time()}}
        self._box.update_many({"kind": "notice", "rule": rule, "done_on": {"$exists": False}}, done)

    # Deliveries

    def targets_due(self) -> list[str]:
        """Return the targets that have a delivery which is due."""
        due = {**_DELIVERY, "state": "pending", "due": {"$lte": self._db.server_time()}}
        return sorted(self._box.distinct("target", due))

    def take(self, target: str, seconds: float) -> Delivery | None:
        """Return the delivery of a target that is due, and hide it from others for some seconds.

        Of several, it is the one with the fewest attempts, then the oldest: a message that the target does not accept
        holds up none of the others.
        """
        now = self._db.server_time()
        taken = self._box.find_one_and_update(
            {**_pending(target), "due": {"$lte": now}},
            {"$set": {"due": now + timedelta(seconds=seconds), "taken": True}, "$inc": {"tries": 1}},
            sort=[("tries", 1), ("created_on", 1)],
            return_document=ReturnDocument.AFTER,
        )
        return _delivery(taken) if taken else None

    def sent(self, delivery: Delivery) -> None:
        """Record that a message was delivered; others for the target need not wait any more."""
        now = self._db.server_time()
        done = {"state": "sent", "done_on": now, "taken": False, "error": None}
        self._box.update_one({"_id": delivery.id}, {"$set": done})
        self._box.update_many({**_pending(delivery.target), "taken": {"$ne": True}}, {"$min": {"due": now}})

    def failed(self, delivery: Delivery, why: str) -> bool:
        """Record that an attempt has failed; return whether there will be another one.

        The pause holds for all messages of the target: many messages do not become many attempts.
        """
        now = self._db.server_time()
        again = now - delivery.created_on < _GIVE_UP_AFTER
        pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(delivery.tries - 1, 16))
        fields: Doc = {"error": why, "taken": False, "due": now + timedelta(seconds=pause)}
        if not again:
            fields |= {"state": "given_up", "done_on": now}
        self._box.update_one({"_id": delivery.id, "state": "pending"}, {"$set": fields})
        others = {**_pending(delivery.target), "taken": {"$ne": True}}
        self._box.update_many(others, {"$max": {"due": now + timedelta(seconds=pause)}})
        return again

    def release(self, target: str, why: str) -> None:
        """Record that the process which took deliveries of a target has ended without a result."""
        for document in self._box.find({**_pending(target), "taken": True}):
            self.failed(_delivery(document), why)

    # Looking

    def waiting(self) -> dict[str, int]:
        """Return the number of notices that wait for a message, by rule."""
        group = {"$group": {"_id": "$rule", "count": {"$sum": 1}}}
        open_ = {"$match": {**_NOTICE, "done_on": {"$exists": False}}}
        return {row["_id"]: row["count"] for row in self._box.aggregate([open_, group])}

    def recent(self, limit: int) -> list[Delivery]:
        """Return the last deliveries, the newest first."""
        return [_delivery(each) for each in self._box.find(_DELIVERY, sort=[("created_on", -1)], limit=limit)]


def ended_flows(db: QueueDatabase, since: datetime, states: Sequence[str]) -> list[tuple[str, str, str, datetime]]:
    """Return uuid, name, state and time of the flows that are in one of these states and have changed since then."""
    query = {"updated_on": {**IS_DATE, "$gte": since}, "state": {"$in": list(states), **IS_TEXT}, "uuid": IS_TEXT}
    found = db.flows.find(query, ["uuid", "name", "state", "updated_on"])
    return [
        (flow["uuid"], str(flow.get("name")), flow["state"], flow["updated_on"].replace(tzinfo=UTC)) for flow in found
    ]


def flow_names(db: QueueDatabase, flow_ids: Iterable[str]) -> dict[str, str]:
    """Return the names of flows by their uuids."""
    found = db.flows.find({"uuid": {"$in": list(flow_ids)}}, ["uuid", "name"])
    return {flow["uuid"]: str(flow.get("name")) for flow in found}


def _pending(target: str) -> dict[str, Any]:
    """Return the query for the deliveries of a target that are to be tried."""
    return {**_DELIVERY, "target": target, "state": "pending"}


def _seconds(later: datetime, earlier: datetime) -> float:
    return (later - earlier.replace(tzinfo=UTC)).total_seconds()


def _delivery(document: Doc) -> Delivery:
    names = ("message", "rule", "target", "title", "body", "state", "tries")
    fields: dict[str, Any] = {name: document[name] for name in names}
    created_on, error = document["created_on"].replace(tzinfo=UTC), document.get("error")
    why = error if error is None else str(error)
    return Delivery(id=document["_id"], created_on=created_on, error=why, **fields)
