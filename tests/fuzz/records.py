"""What the database gives: documents with values that no version of jfr-mp writes, read by masters and by commands.

An input is a text of damages, each a line of three words: the collection, the field, and the value that it gets in the
first document of the collection. A word that is none of these chooses one by its bytes, so that every input is damage.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any
from unittest import mock

from bson import DatetimeMS, Decimal128, Int64, MaxKey, MinKey, ObjectId, Regex, Timestamp, encode
from bson.errors import InvalidDocument
from bson.raw_bson import RawBSONDocument
from jobflow import Flow
from pydantic import ValidationError
from pymongo import MongoClient
from pymongo.errors import DuplicateKeyError, WriteError

from jfr_mp.config import Project
from jfr_mp.database import batches, bus_keys, orders, overview, paused_workers, processes, queries, stale_locks
from jfr_mp.database.activity import activity
from jfr_mp.database.connection import QueueDatabase
from jfr_mp.database.consistency import ConsistencyCheck
from jfr_mp.database.deployment import Deployment, count_lost_jobs
from jfr_mp.database.event_history import history
from jfr_mp.database.faults import explain_damaged
from jfr_mp.database.filters import FlowFilter, JobFilter
from jfr_mp.database.leases import Lease
from jfr_mp.database.notifications import Notice, Outbox, ended_flows
from jfr_mp.database.reconcile import Reconciler
from jfr_mp.database.setup import ensure_initialised
from jfr_mp.database.submission import add_flow
from jfr_mp.database.trends import trends
from jfr_mp.diagnosis import explain_job
from jfr_mp.engine.step_runner import StepRunner
from jfr_mp.engine.wakeups import LocalWakeups
from jfr_mp.errors import JfrMpError
from jfr_mp.outcomes import Advance, Completion, Fail, Retry
from jfr_mp.states import BatchState, FlowState, JobState
from jfr_mp.step_table import COMPLETE, STEPS, Kind, Role, Step
from jfr_mp.steps.services import Services
from tests.support.jobs import add, chain

#: The variable with the address of the server.
SERVER = "JFR_MP_FUZZ_MONGODB"
_ME = "host:1:aaaa"
_DEAD = "far:2:bbbb"
_LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
#: Damages of one input, and characters of a refusal.
_MOST, _LONGEST_REFUSAL = 8, 2000

#: A text, which is then replaced by bytes that are not one.
_GARBLED, _NOT_UTF_8 = "{garbled}", b"\xff\xfe\xc3\xed\xa0\x80\xc0\xaf\x80"
#: What a field becomes; a function makes it of the value that is there.
_VALUES: Mapping[str, Any] = {
    "none": None,
    "true": True,
    "zero": 0,
    "minus": -1,
    "huge": Int64(2**63 - 1),
    "nan": float("nan"),
    "infinite": float("inf"),
    "decimal": Decimal128("1E+6000"),
    "empty": "",
    "text": "x",
    "long": "x" * 100_000,
    "escape": "\x1b[2J\u202e\n",
    "path": "../../x",
    "list": [],
    "numbers": [5, None],
    "document": {},
    "operator": {"$gt": ""},
    "class": {"@module": "os", "@class": "system", "@version": "1"},
    "deep": None,
    "bytes": b"\xff\x00",
    "id": ObjectId("0" * 24),
    "regex": Regex(".*"),
    "stamp": Timestamp(1, 1),
    "smallest": MinKey(),
    "largest": MaxKey(),
    "garbled": _GARBLED,
    "never": DatetimeMS(2**62),
    "early": datetime(1, 1, 1, tzinfo=UTC),
    "past": _LONG_AGO,
    "late": datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC),
    "in-a-list": lambda value: [value],
    "in-a-document": lambda value: {"a": value},
    "as-text": str,
    "twice": lambda value: [value, value],
    "missing": ...,
    **{state.value: state.value for state in JobState},
}
_deep: Any = 5
for _ in range(90):
    _deep = [_deep]
_VALUES = {**_VALUES, "deep": _deep}


class _Ground:
    """A queue database with a flow that is damaged, and a job in another flow that is not."""

    def __init__(self) -> None:
        client: MongoClient[dict[str, Any]] = MongoClient(os.environ[SERVER], serverSelectionTimeoutMS=20_000)
        worker = {"type": "local", "scheduler_type": "shell", "work_dir": "/work"}
        self.project = Project.model_validate({"name": "p", "queue": {}, "workers": {"local": worker}})
        self.db = QueueDatabase(client, f"fuzz-{os.getpid()}", "jobs", self.project, "here")
        ensure_initialised(self.db)
        Outbox(self.db).prepare()
        self.good_id = ""
        self._documents = self._made()
        services = Services(self.project, lambda _job: None, lambda _moment: True)
        self.runner = StepRunner(self.db, services, _ME, LocalWakeups())

    def damage(self, text: str) -> None:
        """Store the documents with their damages."""
        self.db.known_flows.clear()
        documents = deepcopy(self._documents)
        for line in text.split("\n")[:_MOST]:
            words = [*line.split(" "), "", "", ""][:3]
            name = _chosen(words[0], list(documents))
            document = documents[name][0]
            path = _chosen(words[1], _paths(document))
            _put(document, path.split("."), _VALUES[_chosen(words[2], list(_VALUES))])
        for name, rows in documents.items():
            self.db.db[name].delete_many({})
            for row in rows:
                try:
                    raw = encode(row).replace(_GARBLED.encode(), _NOT_UTF_8)
                    self.db.db[name].insert_one(RawBSONDocument(raw))
                except (DuplicateKeyError, InvalidDocument, WriteError):
                    # The client or the server refuses it.
                    continue

    def _made(self) -> dict[str, list[dict[str, Any]]]:
        bad = chain(3)
        bad_ids = add_flow(self.db, bad, worker="local")
        (self.good_id,) = add_flow(self.db, Flow([add(1)]), worker="local")
        processes.register(self.db, _record(_DEAD, "master"))
        processes.register(self.db, _record("far:3:cccc", "role"))
        processes.register(self.db, _record(_ME, "role"))
        self.db.processes.update_one({"_id": _DEAD}, {"$set": {"heartbeat": _LONG_AGO}})
        lost = {**(self.db.processes.find_one({"_id": _DEAD}) or {}), "_id": "gone", "host": "gone"}
        self.db.lost_masters.insert_one(lost)
        Lease(self.db, "reconcile", _DEAD).held()
        batch = batches.BatchDoc(
            batch_uid=bad.uuid,
            process_id="5",
            batch_state=BatchState.RUNNING,
            worker="local",
            jobs=[[bad_ids[0], bad.jobs[0].uuid, 1]],
        )
        self.db.batches.insert_one(batch.as_db_dict())
        orders.give(self.db, orders.MasterOrder(id="o", master=_ME, name="stop", sender="x"))
        paused_workers.pause(self.db, "other", "x")
        bus_keys.admit(self.db, "k" * 40, "h", "u")
        box = Outbox(self.db)
        box.add([Notice("r", "job_failed", "k", "s")])
        box.hold_since(["c"])
        locked = {"lock_id": f"jfr-mp/{_DEAD}/x", "lock_time": _LONG_AGO}
        self.db.jobs.update_one({"db_id": bad_ids[1]}, {"$set": locked})
        names = sorted(set(self.db.db.list_collection_names()))
        return {name: list(self.db.db[name].find(sort=[("_id", 1)])) for name in names}


@cache
def _ground() -> _Ground:
    return _Ground()


def _record(owner: str, kind: Any) -> processes.ProcessRecord:
    host, pid, _ = owner.split(":")
    return processes.ProcessRecord(
        id=owner, kind=kind, host=host, pid=int(pid), create_time=1.0, machine="m", project="p", roles=["transfer"]
    )


def _chosen(word: str, words: list[str]) -> str:
    return word if word in words else words[sum(word.encode(errors="replace")) % len(words)]


def _paths(document: Mapping[str, Any], above: str = "") -> list[str]:
    paths = []
    for name, value in document.items():
        if name != "_id" or isinstance(value, str):
            paths.append(above + name)
        if isinstance(value, dict) and value:
            paths += _paths(value, f"{above}{name}.")
    return paths


def _put(document: dict[str, Any], path: list[str], value: Any) -> None:
    for name in path[:-1]:
        document = document[name]
    if value is ...:
        del document[path[-1]]
    else:
        document[path[-1]] = value(document[path[-1]]) if callable(value) else value


def read_as_a_master(data: bytes, _directory: Any) -> None:
    """No document stops a master, or the good job on its way from READY to COMPLETED."""
    ground = _ground()
    ground.damage(data.decode(errors="replace"))
    for read in _BY_MASTERS:
        read(ground.db)
    for of_others in (Retry("no", delay=0.0), None, Fail("never")):
        for step in STEPS:
            if step.kind is Kind.CLAIM:
                _take_turn(ground, step, of_others)
    good = ground.db.jobs.find_one({"db_id": ground.good_id}) or {}
    assert (good.get("state"), good.get("lock_id")) == ("SUBMITTED", None)
    ground.db.jobs.update_one({"db_id": ground.good_id}, {"$set": {"state": "DOWNLOADED"}})
    _take_turn(ground, COMPLETE, None)
    good = ground.db.jobs.find_one({"db_id": ground.good_id}) or {}
    assert (good.get("state"), good.get("lock_id")) == ("COMPLETED", None)
    assert ground.db.jobs.count_documents({"lock_id": {"$regex": f"/{_ME}/"}}) == 0


def _take_turn(ground: _Ground, step: Step, of_others: Retry | Fail | None) -> None:
    """Have a step take its next jobs: it succeeds for the good one, and as it is given for all others."""
    done = Completion(JobState.COMPLETED) if step is COMPLETE else Advance(step.targets[0])

    def run(job: Any, *_: Any) -> Any:
        return done if of_others is None or job.db_id == ground.good_id else of_others

    with mock.patch.object(Step, "load", return_value=run):
        ground.runner.advance(step, limit=10)


def read_as_a_user(data: bytes, _directory: Any) -> None:
    """A command shows what can be shown, or says in a line what is wrong."""
    ground = _ground()
    ground.damage(data.decode(errors="replace"))
    refusals: list[str] = []
    for read in _BY_USERS:
        try:
            read(ground.db)
        except JfrMpError as refusal:
            refusals.append(str(refusal))
        except ValidationError as error:
            # As the command line does.
            if not (damaged := explain_damaged(error)):
                raise
            refusals.append(str(damaged))
    assert all(0 < len(text) < _LONGEST_REFUSAL for text in refusals)


def _reconciled(db: QueueDatabase) -> None:
    reconciler = Reconciler(db, _ME)
    for flow in reconciler.flows(ended_too=True):
        reconciler.examine(flow)


def _delivered(db: QueueDatabase) -> None:
    box = Outbox(db)
    box.progress()
    box.hold_since(["c"])
    for rule in box.rules_with_notices():
        if (bundle := box.bundle(rule, interval=0, gather=0, most=5)) is not None:
            box.post(bundle, ["t"], "title", "body")
    for target in box.targets_due():
        if (delivery := box.take(target, 60)) is not None:
            box.failed(delivery, "no")
        box.release(target, "no")
    box.recent(9), box.waiting()


_BY_MASTERS: tuple[Callable[[QueueDatabase], Any], ...] = (
    processes.registered,
    processes.lost_masters,
    lambda db: processes.living(db, 30),
    lambda db: processes.living_ids(db, 30),
    lambda db: processes.time_left(db, 30),
    processes.evict_expired,
    lambda db: processes.evict_lost(db, _DEAD, "it is lost"),
    lambda db: Lease(db, "reconcile", _ME).held(),
    lambda db: [Deployment(db).runs(role) for role in Role],
    lambda db: Deployment(db).places(),
    count_lost_jobs,
    lambda db: orders.take(db, _ME, 60),
    lambda db: orders.forget_old(db, 60),
    lambda db: paused_workers.PausedWorkers(db).names(),
    bus_keys.admitted,
    lambda db: [batches.living_batches(db, worker) for worker in batches.busy_workers(db)],
    lambda db: batches.jobs_waiting(db, "local"),
    lambda db: stale_locks.free_stale_locks(db, stale_locks.stale_locks(db)),
    _reconciled,
    _delivered,
    lambda db: ended_flows(db, _LONG_AGO, ["FAILED", "COMPLETED"]),
    lambda db: history(db, (0, "", -1), None),
)

_BY_USERS: tuple[Callable[[QueueDatabase], Any], ...] = (
    lambda db: list(ConsistencyCheck(db, settle=0).violations()),
    lambda db: queries.jobs_info(db, JobFilter()),
    lambda db: queries.job_documents(db, JobFilter()),
    lambda db: queries.flows_info(db, FlowFilter()),
    queries.count_jobs_by_worker,
    queries.count_jobs_states,
    queries.count_flows_states,
    lambda db: [explain_job(db, db_id=db_id) for db_id in _db_ids(db)],
    lambda db: [queries.job_doc(db, db_id=db_id) for db_id in _db_ids(db)],
    overview.counts_by_worker,
    lambda db: overview.ends_since(db, _LONG_AGO, 60),
    lambda db: overview.late_jobs(db, timedelta(0), 9),
    lambda db: overview.page_of_jobs(db, JobFilter(), after=None, limit=2),
    lambda db: overview.page_of_flows(db, FlowFilter(), after=None, limit=1),
    lambda db: [overview.members_of_flow(db, flow) for flow in db.flows.distinct("uuid") if isinstance(flow, str)],
    lambda db: activity(db, _LONG_AGO, datetime.now(UTC)),
    lambda db: trends(db, list(JobState), "days", None, "UTC"),
    lambda db: trends(db, list(FlowState), "days", None, "UTC"),
    lambda db: batches.find_batches(db, batches.BatchFilter()),
    bus_keys.listed,
    paused_workers.listed,
    processes.registered,
    processes.lost_masters,
    lambda db: history(db, (0, "", -1), None),
)


def _db_ids(db: QueueDatabase) -> list[str]:
    return [db_id for db_id in db.jobs.distinct("db_id") if isinstance(db_id, str)]
