"""Checking every document of the queue against the rules of the state machine, and those of jfr-mp's own collections.

The documents are read one after another, a flow together with its jobs, so that the memory does not grow with the
queue. Nothing is changed. Other processes may be working: what looks wrong is examined a second time after a while, and
only what is still wrong then is reported.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from jfr_mp.database import processes
from jfr_mp.database.batches import BatchDoc
from jfr_mp.database.children import satisfying_states
from jfr_mp.database.claims import WITHOUT_INPUTS
from jfr_mp.database.diagnosis import FLOW_FIELDS, JOB_FIELDS, diagnose
from jfr_mp.database.field_types import texts
from jfr_mp.database.flow_lookup import find_flow
from jfr_mp.database.flow_state import is_readable
from jfr_mp.database.indexes import missing_unique_indexes
from jfr_mp.database.invariants import DAMAGED, Circumstances, Violation, damaged, job_violations
from jfr_mp.database.own_documents import OWN_COLLECTIONS
from jfr_mp.database.reconcile import besides_submission, findings_of
from jfr_mp.database.setup import highest_number, missing_documents, next_number
from jfr_mp.database.stale_locks import stale_locks
from jfr_mp.model import FlowDoc
from jfr_mp.states import BatchState, FlowState, JobState

if TYPE_CHECKING:
    from jfr_mp.database.connection import Doc, QueueDatabase

#: Seconds between the two examinations of a document.
_SETTLE = 2.0
#: The number of documents that are examined a second time together.
_SUSPECTS = 500

#: The number of documents that are in memory at a time.
_BATCH = 100

_RECONCILE = "jfr-mp admin reconcile"
_DELETE_FLOW = "jfr-mp flow delete --flow-id {}"


class ConsistencyCheck:
    """One pass over the queue.

    Parameters
    ----------
    db
        The queue database.
    settle
        Seconds after which what looked wrong is examined again.
    sleep
        Waits.

    Attributes
    ----------
    examined
        The number of documents that were examined, by what they are.
    """

    def __init__(
        self, db: QueueDatabase, *, settle: float = _SETTLE, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._db = db
        self._settle = settle
        self._sleep = sleep
        self._around = Circumstances.of_project(db.project, db.server_time())
        self.examined: Counter[str] = Counter()
        self._sections: Mapping[str, Callable[[Doc], Iterator[Violation]]] = {
            "auxiliary": self._auxiliary,
            **{name: partial(self._own, name) for name in OWN_COLLECTIONS},
            "locks": self._locks,
            "batches": self._batches,
            "flows": self._flows,
            "jobs": self._jobs,
        }

    def violations(self) -> Iterator[Violation]:
        """Yield the rules that are broken, document by document."""
        for section, look in self._sections.items():
            suspects = look({})
            while some := list(islice(suspects, _SUSPECTS)):
                self._sleep(self._settle)
                yield from self._still_wrong(section, some)

    def _still_wrong(self, section: str, suspects: Sequence[Violation]) -> Iterator[Violation]:
        before = self.examined[section]
        keys = list({str(suspect.key): suspect.key for suspect in suspects}.values())
        now = {(found.rule, str(found.key)) for found in self._sections[section]({"_id": {"$in": keys}})}
        self.examined[section] = before
        yield from (suspect for suspect in suspects if (suspect.rule, str(suspect.key)) in now)

    def damaged(self, *, delete: bool = False) -> list[Violation]:
        """Return the documents that cannot be read, after deleting them if `delete` is set."""
        found = [violation for violation in self.violations() if violation.rule == DAMAGED]
        for violation in found if delete else ():
            self._db.db[violation.collection].delete_one({"_id": violation.key})
        return found

    # One method for each section: it yields what looks wrong with the documents of a query.

    def _auxiliary(self, _query: Doc) -> Iterator[Violation]:
        name = self._db.auxiliary.name
        if not self._db.jobs.find_one({}, {"_id": 1}) and not self._db.auxiliary.find_one({}, {"_id": 1}):
            return
        for key in missing_documents(self._db):
            yield Violation("missing-document", name, key, f"there is no document {key!r}", _RECONCILE, key)
        for collection, keys in missing_unique_indexes(self._db):
            problem = f"the unique index of {', '.join(keys)} is missing: a document can be inserted twice"
            yield Violation("missing-index", collection, ", ".join(keys), problem, _RECONCILE, keys)
        highest, following = highest_number(self._db), next_number(self._db)
        if following is not None and highest >= following:
            problem = f"the next db_id would be {following}, but there is a job {highest}: no flow can be submitted"
            yield Violation("counter-behind", name, "next_id", problem, _RECONCILE, "next_id")

    def _own(self, section: str, query: Doc) -> Iterator[Violation]:
        for violation in OWN_COLLECTIONS[section].violations(self._db, query, self._around):
            self.examined[section] += 1
            if violation is not None:
                yield violation
        if section == "processes":
            yield from self._dead_processes(query)

    def _dead_processes(self, query: Doc) -> Iterator[Violation]:
        name = self._db.processes.name
        dead = processes.expired_ids(self._db, self._db.project.jfr_mp.lease_ttl, query)
        for owner in dead:
            problem = "it has not renewed its lease, and no process has evicted it: its locks and leases are still held"
            yield Violation("dead-process", name, owner, problem, _RECONCILE, owner)

    def _locks(self, _query: Doc) -> Iterator[Violation]:
        for lock in stale_locks(self._db):
            problem = f"its lock {lock.lock_id} of {lock.lock_time:%F %T} UTC is stale: {lock.why}"
            yield Violation("stale-lock", lock.collection, str(lock.id), problem, _RECONCILE, lock.id)

    def _batches(self, query: Doc) -> Iterator[Violation]:
        name, repair = self._db.batches.name, "jfr-mp batch delete --batch-uid {}"
        for document in self._db.batches.find(query):
            self.examined["batches"] += 1
            try:
                batch = BatchDoc.model_validate(document)
            except ValidationError as error:
                yield damaged(document, name, "batch_uid", error)
                continue
            if batch.batch_state is not BatchState.FINISHED and not batch.process_id:
                problem = f"it is {batch.batch_state.name} and has no id of the scheduler: its end cannot be noticed"
                yield Violation(
                    "no-process-id", name, batch.batch_uid, problem, repair.format(batch.batch_uid), document["_id"]
                )
                continue
            if batch.batch_state is not BatchState.FINISHED and not self._around.workers.get(batch.worker):
                problem = (
                    f"it is {batch.batch_state.name}, but {batch.worker!r} is not a batch worker of the project: its "
                    "end cannot be noticed"
                )
                repair_it = repair.format(batch.batch_uid)
                yield Violation("batch-worker", name, batch.batch_uid, problem, repair_it, document["_id"])

    def _flows(self, query: Doc) -> Iterator[Violation]:
        for document in self._db.flows.find(query).batch_size(_BATCH):
            self.examined["flows"] += 1
            yield from self._flow(document)

    def _flow(self, document: Doc) -> Iterator[Violation]:
        name, key = self._db.flows.name, document["_id"]
        try:
            flow = FlowDoc.model_validate(document)
        except ValidationError as error:
            yield damaged(document, name, "uuid", error)
            return
        if flow.lock_id is not None:
            # Its holder is working on it. If the holder is dead, the stale lock is reported.
            if flow.lock_time is None:
                problem = f"it is locked by {flow.lock_id} without a time, so that the lock never counts as stale"
                repair = f"jfr-mp admin unlock-flow --flow-id {flow.uuid}"
                yield Violation("lock-without-time", name, flow.uuid, problem, repair, key)
            return
        jobs = list(self._db.jobs.find({"job.hosts": flow.uuid}, JOB_FIELDS))
        if not all(_is_readable(job) for job in jobs):
            return  # the damaged job is reported
        diagnosis = diagnose({field: document.get(field) for field in FLOW_FIELDS}, jobs)
        if flow.state is FlowState.RUNNING and diagnosis.state in (FlowState.READY, FlowState.WAITING):
            # A job that is rerun before it has ended returns to READY, and its flow stays RUNNING.
            diagnosis = replace(diagnosis, state=None)
        diagnosis = besides_submission(self._db, document, diagnosis)
        for finding in findings_of(flow.uuid, diagnosis, repaired=False):
            repair = _DELETE_FLOW.format(flow.uuid) if "submit it again" in finding.cure else _RECONCILE
            yield Violation("flow-and-jobs", name, flow.uuid, finding.problem, repair, key)
        yield from self._dependencies(flow.uuid, jobs, key)

    def _dependencies(self, flow: str, jobs: Sequence[Doc], key: Any) -> Iterator[Violation]:
        """Yield the jobs of a flow that do not agree with their parents."""
        latest = {job["uuid"]: job for job in sorted(jobs, key=lambda job: job["index"])}
        missing = {parent for job in latest.values() if _waits(job) for parent in job.get("parents") or ()} - set(
            latest
        )
        elsewhere = set(self._db.jobs.distinct("uuid", {"uuid": {"$in": list(missing)}})) if missing else set()
        for job in latest.values():
            lost = [parent for parent in job.get("parents") or () if parent in missing - elsewhere]
            if _waits(job) and lost:
                problem = f"its job {job['db_id']} waits for {', '.join(lost)}, which does not exist"
                repair = f"jfr-mp job delete --db-id {job['db_id']}"
                yield Violation("missing-parent", self._db.flows.name, flow, problem, repair, key)
            if undone := _undone(job, latest):
                problem = f"its job {job['db_id']} is READY although its parents {', '.join(undone)} are not done"
                repair = f"jfr-mp job set-state WAITING {job['db_id']}"
                yield Violation("ready-too-early", self._db.flows.name, flow, problem, repair, key)

    def _jobs(self, query: Doc) -> Iterator[Violation]:
        name = self._db.jobs.name
        # A process that has used this connection for long may remember flows that are gone.
        self._db.known_flows.clear()
        for document in self._db.jobs.find(query, WITHOUT_INPUTS).batch_size(_BATCH):
            self.examined["jobs"] += 1
            found = list(job_violations(document, name, self._around))
            yield from found
            if not any(each.rule == DAMAGED for each in found) and self._is_orphan(document):
                problem, repair = "no flow lists it", f"jfr-mp job delete --db-id {document['db_id']}"
                yield Violation("job-without-flow", name, document["db_id"], problem, repair, document["_id"])

    def _is_orphan(self, job: Doc) -> bool:
        return find_flow(self._db, job["uuid"], texts(job["job"].get("hosts"))) is None


def _is_readable(job: Doc) -> bool:
    """Return whether the diagnosis of a flow can read a job."""
    return is_readable(job) and "db_id" in job


def _waits(job: Doc) -> bool:
    return bool(job["state"] == JobState.WAITING.value and job.get("lock_id") is None)


def _undone(job: Doc, latest: Mapping[str, Doc]) -> list[str]:
    """Return the db_ids of the parents that a READY job should have waited for."""
    if job["state"] != JobState.READY.value or job.get("lock_id") is not None:
        return []
    enough = satisfying_states(job)
    parents = [latest[parent] for parent in job.get("parents") or () if parent in latest]
    return [parent["db_id"] for parent in parents if parent["state"] not in enough]
