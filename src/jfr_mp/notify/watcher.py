"""The watcher: finds what the rules of a project are about, and puts it into the outbox."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from jfr_mp.api.events import EventReader
from jfr_mp.config.notifications import Occasion
from jfr_mp.database import processes
from jfr_mp.database.faults import TRANSIENT
from jfr_mp.database.notifications import Notice, Outbox, ReadingProgress, ended_flows, flow_names

if TYPE_CHECKING:
    from datetime import datetime

    from jfr_mp.config.notifications import NotifyRule
    from jfr_mp.database.connection import QueueDatabase
    from jfr_mp.database.job_events import JobEvent

logger = logging.getLogger(__name__)

#: How many events one turn reads.
_EVENTS = 500
#: Seconds between two looks at the flows, and at the registry of processes.
_FLOWS_EVERY, _TROUBLES_EVERY = 2.0, 2.0
#: Seconds after which the progress is stored although nothing has happened.
_SAVE_EVERY = 60.0
#: Events that are older are not reported any more when a master is started after a long time.
_OLDEST = timedelta(days=7)
#: Time by which the clocks of writers may differ.
_OVERLAP = timedelta(seconds=60)
#: How many flows are remembered that have been noticed.
_REMEMBERED = 100_000

_OF_JOBS = {"FAILED": Occasion.JOB_FAILED, "REMOTE_ERROR": Occasion.REMOTE_ERROR}
_OF_FLOWS = {"COMPLETED": Occasion.FLOW_COMPLETED, "FAILED": Occasion.FLOW_FAILED}
_LASTING = (Occasion.HOST_DOWN, Occasion.LOGIN_NEEDED)
_OF_PROCESSES = (*_LASTING, Occasion.ROLE_FATAL, Occasion.MASTER_LOST)

Rules = Mapping[str, "NotifyRule"]


class Happening(NamedTuple):
    """Something that has happened, before a rule is applied; see `Notice`."""

    occasion: str
    key: str
    subject: str
    detail: str = ""
    reference: str = ""
    flow: str | None = None
    workers: tuple[str, ...] = ()

    def notices(self, rules: Rules) -> Iterator[Notice]:
        """Yield a notice for each rule that is about it."""
        for name, rule in rules.items():
            if rule.wants(self.occasion, self.flow, list(self.workers)):
                yield Notice(name, self.occasion, self.key, self.subject, self.reference, self.detail)


class Watcher:
    """Looks at the jobs, the flows and the processes of a project.

    Parameters
    ----------
    db
        The queue database.
    outbox
        Where the notices go.
    age
        Seconds for which this process has been running: a project that was never watched is watched from its start on.
    """

    def __init__(self, db: QueueDatabase, outbox: Outbox, age: float = 0.0) -> None:
        self._db = db
        self._outbox = outbox
        now = db.server_time()
        start = now - timedelta(seconds=age)
        self._progress = self._earlier(now) or ReadingProgress(start, start)
        self._flows_since = self._progress.seen
        self._reader: EventReader | None = None
        self._saved = -_SAVE_EVERY
        self._flows_due = self._troubles_due = 0.0
        self._known_flows: set[str] = set()

    def _earlier(self, now: datetime) -> ReadingProgress | None:
        found = self._outbox.progress()
        if found is not None and now - found.seen > _OLDEST:
            logger.warning("what happened before %s is not reported any more", f"{now - _OLDEST:%F}")
            return None
        return found

    def close(self) -> None:
        """Stop watching."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def turn(self, rules: Rules) -> None:
        """Look once at everything that the rules are about; waits for half a second at most for the next event."""
        wanted = {occasion for rule in rules.values() for occasion in rule.on}
        if any(occasion in wanted for occasion in _OF_JOBS.values()):
            self._watch_jobs(rules)
        else:
            self.close()
            self._save(ReadingProgress(self._progress.begun, self._db.server_time()), soon=False)
        now = time.monotonic()
        if now >= self._flows_due and any(occasion in wanted for occasion in _OF_FLOWS.values()):
            self._flows_due = now + _FLOWS_EVERY
            self._watch_flows(rules)
        if now >= self._troubles_due and any(occasion in wanted for occasion in _OF_PROCESSES):
            self._troubles_due = now + _TROUBLES_EVERY
            self._watch_processes(rules)

    # Jobs

    def _watch_jobs(self, rules: Rules) -> None:
        now = self._db.server_time()
        events = list(self._new_events())
        # A stream begins with a whole second of the server's log.
        failed = [event for event in events if event.state in _OF_JOBS and event.time >= self._progress.begun]
        names = flow_names(self._db, {event.flow_id for event in failed if event.flow_id}) if failed else {}
        self._outbox.add(
            notice for event in failed for notice in _of_job(event, names.get(event.flow_id or "")).notices(rules)
        )
        # With all events read, there is nothing before this moment that a later reader could want.
        seen = now if len(events) < _EVENTS else self._progress.seen
        token = events[-1].token if events else self._progress.token
        self._save(ReadingProgress(self._progress.begun, seen, token), soon=bool(events))

    def _save(self, progress: ReadingProgress, *, soon: bool) -> None:
        self._progress = progress
        if soon or time.monotonic() > self._saved + _SAVE_EVERY:
            self._outbox.save(progress)
            self._saved = time.monotonic()

    def _new_events(self) -> Iterator[JobEvent]:
        if self._reader is None:
            self._reader = EventReader(self._db, since=self._progress.seen, token=self._progress.token)
        for _ in range(_EVENTS):
            try:
                event = self._reader.next()
            except TRANSIENT:
                raise
            except Exception:  # whatever it is, it is raised again
                # The next turn begins behind the last event that was stored.
                self.close()
                raise
            if event is None:
                return
            yield event

    # Flows

    def _watch_flows(self, rules: Rules) -> None:
        now = self._db.server_time()
        since = max(self._progress.begun, self._flows_since - _OVERLAP)
        happenings = [_of_flow(*flow) for flow in ended_flows(self._db, since, list(_OF_FLOWS))]
        new = [happening for happening in happenings if happening.key not in self._known_flows]
        self._outbox.add(notice for happening in new for notice in happening.notices(rules))
        if len(self._known_flows) > _REMEMBERED:
            self._known_flows.clear()
        self._known_flows.update(happening.key for happening in new)
        self._flows_since = now

    # Processes

    def _watch_processes(self, rules: Rules) -> None:
        happenings = {happening.key: happening for happening in troubles(self._db)}
        since = self._outbox.hold_since(happenings)
        now = self._db.server_time()
        for key, happening in happenings.items():
            begun = since.get(key, now)
            whole = happening._replace(key=f"{key}/{begun.isoformat()}")
            due = {
                name: rule for name, rule in rules.items() if _is_due(rule, happening, (now - begun).total_seconds())
            }
            self._outbox.add(whole.notices(due))


def _is_due(rule: NotifyRule, happening: Happening, seconds: float) -> bool:
    return happening.occasion not in _LASTING or seconds >= rule.after


def _of_job(event: JobEvent, flow: str | None) -> Happening:
    error = (event.error or "").strip().splitlines()
    place = f" of the flow {flow}" if flow else ""
    return Happening(
        occasion=_OF_JOBS[event.state or ""],
        key=event.token,
        subject=f"job {event.db_id} ({event.name}){place} on {event.worker}",
        detail=error[-1] if error else "",
        reference=event.db_id or "",
        flow=flow or "",
        workers=(event.worker,) if event.worker else (),
    )


def _of_flow(uuid: str, name: str, state: str, changed: datetime) -> Happening:
    key = f"flow/{uuid}/{state}/{changed.isoformat()}"
    return Happening(_OF_FLOWS[state], key, f"flow {name} ({uuid})", reference=uuid, flow=name)


def troubles(db: QueueDatabase) -> Iterator[Happening]:
    """Yield what is wrong with hosts and processes now."""
    for record in processes.living(db, db.project.jfr_mp.lease_ttl):
        if record.kind != "master":
            continue
        for outage in record.outages:
            occasion = Occasion.LOGIN_NEEDED if outage.wants_login else Occasion.HOST_DOWN
            subject, workers = f"the host of {outage.host}", tuple(outage.host.split(", "))
            yield Happening(occasion, f"{occasion}/{outage.host}", subject, outage.why, workers=workers)
        yield from _fatal(record)
    for lost in processes.lost_masters(db):
        when = f"{lost.heartbeat:%F %R} UTC"
        yield Happening(Occasion.MASTER_LOST, f"master_lost/{lost.host}", f"the master on {lost.host}", f"since {when}")


def _fatal(record: processes.ProcessRecord) -> Iterable[Happening]:
    for row in record.rows:
        if row.get("state") == "FATAL":
            name = row.get("name", "")
            error = (str(row.get("last_error") or "").strip().splitlines() or [""])[-1]
            key = f"role_fatal/{record.host}/{name}"
            yield Happening(Occasion.ROLE_FATAL, key, f"{name} on {record.host}", error)
