"""What the jobs have done within a time: when and where they ran, how long they took, and why they failed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from jfr_mp.database.field_types import fields, utc
from jfr_mp.database.flow_state import is_state
from jfr_mp.states import JobState

if TYPE_CHECKING:
    from jfr_mp.database.connection import Doc, QueueDatabase

#: In how many parts of equal length the time is divided.
PARTS = 96
_FIELDS = dict.fromkeys(
    ("db_id", "worker", "state", "resources", "created_on", "start_time", "end_time", "updated_on"), 1
)
_FAILED = (JobState.FAILED.value, JobState.REMOTE_ERROR.value)
_RUNNING = [JobState.RUNNING.value, JobState.BATCH_RUNNING.value]
#: What differs between errors with the same cause: paths, numbers, uuids.
_PARTICULAR = re.compile(r"(?:/[^\s'\":,]+)+|\b[0-9a-f]{8}-[0-9a-f-]{27}\b|0x[0-9a-f]+|\d+(?:\.\d+)?")
_LONGEST = 200


@dataclass
class WorkerActivity:
    """What the jobs of one worker have done.

    Parameters
    ----------
    completed, failed
        How many of them have become COMPLETED, and FAILED or REMOTE_ERROR.
    core_hours
        The time that jobs ran, times their cores.
    busy
        For each part of the time, how many cores were busy on average.
    seconds
        The time in seconds that the jobs which ended spent waiting to start, running, and until their state was final.
    ended
        How many jobs these seconds are of, by the same names.
    """

    completed: int = 0
    failed: int = 0
    core_hours: float = 0.0
    busy: list[float] = field(default_factory=lambda: [0.0] * PARTS)
    seconds: dict[str, float] = field(default_factory=dict)
    ended: dict[str, int] = field(default_factory=dict)

    def mean(self, phase: str) -> float | None:
        """Return the mean time of a phase in seconds, or None if no job has passed it."""
        return self.seconds[phase] / self.ended[phase] if self.ended.get(phase) else None


@dataclass
class FailureCause:
    """Failures that differ in particulars only, such as numbers and paths.

    Parameters
    ----------
    number
        How many there are.
    first_line
        The error of the first of them: the line that names it.
    db_ids
        Some of the jobs, the first failure first.
    """

    number: int
    first_line: str
    db_ids: list[str]


#: The phases of a job, each from one of its times to another one.
PHASES = {
    "waiting": ("created_on", "start_time"),
    "running": ("start_time", "end_time"),
    "closing": ("end_time", "updated_on"),
}
_TIMES = frozenset(name for phase in PHASES.values() for name in phase)
#: How many jobs a cause names.
_NAMED = 5


def activity(
    db: QueueDatabase, since: datetime, until: datetime
) -> tuple[dict[str, WorkerActivity], list[FailureCause]]:
    """Return what jobs have done in a time, by worker, and why they failed, the most frequent cause first.

    The documents are read one by one, and only their times: the memory does not grow with the number of jobs.
    """
    workers: dict[str, WorkerActivity] = {}
    # A job that has been running since before the time may have had no change within it.
    within = {"$or": [{"updated_on": {"$gte": since}}, {"state": {"$in": _RUNNING}}]}
    query = {**within, "created_on": {"$lt": until}}
    for found in db.jobs.find(query, _FIELDS):
        job = _in_utc(found)
        if job["updated_on"] is None or not is_state(job.get("state")):
            continue
        worker = str(job.get("worker"))
        of_worker = workers.setdefault(worker, WorkerActivity())
        configured = db.project.workers.get(worker)
        cores = cores_of(job.get("resources") or (configured.resources if configured else None))
        _add(of_worker, job, cores, since, until)
    return dict(sorted(workers.items())), _causes(db, since, until)


def cores_of(resources: Any) -> int:
    """Return the number of cores that resources in qtoolkit's terms ask for; 1 if they say nothing of it."""
    asked = resources if isinstance(resources, Mapping) else {}

    def number(name: str) -> int:
        value = asked.get(name)
        return value if isinstance(value, int) and value > 0 else 1

    processes = number("processes") if asked.get("processes") else number("nodes") * number("processes_per_node")
    return processes * number("threads_per_process")


def cause_of(error: str) -> tuple[str, str]:
    """Return the cause that an error has in common with others, and the line that names it: the last one."""
    lines = [line.strip() for line in error.strip().splitlines() if line.strip()]
    line = lines[-1][:_LONGEST] if lines else "no error was recorded"
    return _PARTICULAR.sub("*", line), line


def _add(of_worker: WorkerActivity, job: Doc, cores: int, since: datetime, until: datetime) -> None:
    ended = job["state"] in (JobState.COMPLETED.value, *_FAILED)
    if job["state"] == JobState.COMPLETED.value:
        of_worker.completed += 1
    elif ended:
        of_worker.failed += 1
    for phase, (begin, end) in PHASES.items() if ended else ():
        if job.get(begin) and job.get(end) and job[end] >= job[begin]:
            seconds = (job[end] - job[begin]).total_seconds()
            of_worker.seconds[phase] = of_worker.seconds.get(phase, 0.0) + seconds
            of_worker.ended[phase] = of_worker.ended.get(phase, 0) + 1
    if not job.get("start_time"):
        return
    # A job without an end is running, or was lost at the time of its last change.
    running = job["state"] in _RUNNING
    last = job.get("end_time") or (until if running else job["updated_on"])
    _add_span(of_worker, max(job["start_time"], since), min(last, until), cores, (since, until))


def _add_span(
    of_worker: WorkerActivity, begin: datetime, end: datetime, cores: int, whole: tuple[datetime, datetime]
) -> None:
    if end <= begin:
        return
    of_worker.core_hours += cores * (end - begin) / timedelta(hours=1)
    part = (whole[1] - whole[0]) / PARTS
    first, last = int((begin - whole[0]) / part), min(int((end - whole[0]) / part), PARTS - 1)
    for number in range(first, last + 1):
        start = whole[0] + number * part
        share = (min(end, start + part) - max(begin, start)) / part
        of_worker.busy[number] += cores * max(0.0, share)


def _causes(db: QueueDatabase, since: datetime, until: datetime) -> list[FailureCause]:
    causes: dict[str, FailureCause] = {}
    query = {"state": {"$in": list(_FAILED)}, "updated_on": {"$gte": since, "$lt": until}}
    for job in db.jobs.find(query, ["db_id", "error", "remote.error"], sort=[("updated_on", 1)]):
        key, line = cause_of(str(job.get("error") or fields(job.get("remote")).get("error") or ""))
        cause = causes.setdefault(key, FailureCause(0, line, []))
        cause.number += 1
        if len(cause.db_ids) < _NAMED:
            cause.db_ids.append(str(job.get("db_id")))
    return sorted(causes.values(), key=lambda cause: -cause.number)


def _in_utc(job: Doc) -> Doc:
    return {**job, **{name: utc(job.get(name)) for name in _TIMES}}
