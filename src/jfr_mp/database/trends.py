"""Counting jobs or flows by state and time of their last change, and other figures of reports."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from jfr_mp.database.field_types import LATEST, date_or_null
from jfr_mp.errors import InvalidQuery
from jfr_mp.states import FlowState, JobState

if TYPE_CHECKING:
    from jfr_mp.database.connection import Doc, QueueDatabase

State = TypeVar("State", JobState, FlowState)


def _midnight(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def _hours(now: datetime, back: int) -> datetime:
    # Hours are counted in UTC, because the clocks of a time zone may be changed.
    earlier = (now.astimezone(UTC) - timedelta(hours=back)).astimezone(now.tzinfo)
    return earlier.replace(minute=0, second=0, microsecond=0)


def _weeks(now: datetime, back: int) -> datetime:
    return _midnight(now) - timedelta(weeks=back, days=now.weekday())


def _months(now: datetime, back: int) -> datetime:
    year, month = divmod(now.year * 12 + now.month - 1 - back, 12)
    return _midnight(now).replace(year=year, month=month + 1, day=1)


@dataclass(frozen=True)
class Interval:
    """A unit of time by which documents are grouped.

    Parameters
    ----------
    label
        The format of its label, for MongoDB's $dateToString and for strftime; labels sort by time.
    default
        The default number of intervals.
    start
        Returns the start of the interval that lies some intervals before the present one.
    """

    label: str
    default: int
    start: Callable[[datetime, int], datetime]


#: The intervals by name. Names, labels and default numbers are those of jobflow-remote.
INTERVALS = {
    "hours": Interval("%Y-%m-%d %H", 12, _hours),
    "days": Interval("%Y-%m-%d", 7, lambda now, back: _midnight(now) - timedelta(days=back)),
    "weeks": Interval("%G-%V", 4, _weeks),
    "months": Interval("%Y-%m", 12, _months),
    "years": Interval("%Y", 3, lambda now, back: _months(now, 12 * back + now.month - 1)),
}


def trends(
    db: QueueDatabase,
    states: Sequence[State],
    interval: str,
    number: int | None,
    timezone: str,
    now: datetime | None = None,
) -> dict[str, dict[State, int]]:
    """Return how many jobs or flows last changed in each interval, by the state that they are in.

    Parameters
    ----------
    states
        The states, either of jobs or of flows.
    interval
        One of `INTERVALS`.
    number
        The number of intervals, the present one included; None for the default.
    timezone
        The time zone of the intervals, such as ``Europe/Paris``.
    now
        The present time; None for that of this machine.

    Returns
    -------
    dict
        For the label of each interval, the oldest first, the number by state, zeros included.

    Raises
    ------
    InvalidQuery
        There are no states, or the interval or the time zone is unknown.
    """
    unit, zone = _known(states, interval, timezone)
    present = (now or datetime.now(UTC)).astimezone(zone)
    starts = [unit.start(present, back) for back in reversed(range(number or unit.default))]
    counted: dict[str, dict[State, int]] = {each.strftime(unit.label): dict.fromkeys(states, 0) for each in starts}
    collection = db.jobs if isinstance(states[0], JobState) else db.flows
    for row in collection.aggregate(_pipeline(states, starts[0].astimezone(UTC), unit.label, timezone)):
        if row["_id"]["interval"] is None or not isinstance(row["_id"]["state"], str):
            continue
        of_interval = counted.setdefault(row["_id"]["interval"], dict.fromkeys(states, 0))
        of_interval[type(states[0])(row["_id"]["state"])] = row["count"]
    return counted


def _known(states: Sequence[State], interval: str, timezone: str) -> tuple[Interval, ZoneInfo]:
    if not states:
        raise InvalidQuery("no states are given; give at least one JobState or FlowState")
    if interval not in INTERVALS:
        raise InvalidQuery(f"there is no interval {interval!r}; choose one of {', '.join(INTERVALS)}")
    try:
        return INTERVALS[interval], ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise InvalidQuery(f"there is no time zone {timezone!r}; write it as UTC or Europe/Paris") from error


def _pipeline(states: Sequence[State], since: datetime, label: str, timezone: str) -> list[Doc]:
    interval = {"$dateToString": {"format": label, "date": date_or_null("updated_on"), "timezone": timezone}}
    return [
        {
            "$match": {
                "updated_on": {"$gte": since, "$lt": LATEST},
                "state": {"$in": [state.value for state in states]},
            }
        },
        {"$group": {"_id": {"interval": interval, "state": "$state"}, "count": {"$sum": 1}}},
    ]


def jobs_per_worker(db: QueueDatabase) -> dict[str, int]:
    """Return the number of jobs of each worker, the busiest first."""
    rows = db.jobs.aggregate([{"$group": {"_id": "$worker", "count": {"$sum": 1}}}, {"$sort": {"count": -1, "_id": 1}}])
    return {str(row["_id"]): row["count"] for row in rows}
