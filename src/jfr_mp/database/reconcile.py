"""Repairing flows whose completion was interrupted, in jfr-mp without transactions or in jobflow-remote.

A completion holds the lock of its flow. Therefore a flow that looks inconsistent is locked and examined again before
anything is written. If a completion was in progress at the first examination, either it has finished by then, or the
flow cannot be locked and is left for later.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from jfr_mp.database.connection import MOST_AT_ONCE
from jfr_mp.database.diagnosis import FLOW_FIELDS, JOB_FIELDS, Diagnosis, diagnose
from jfr_mp.database.doubtful_locks import free_doubtful_locks, in_doubt
from jfr_mp.database.field_types import IS_DATE, IS_TEXT
from jfr_mp.database.flow_state import is_state, update_flow_state
from jfr_mp.database.locks import MongoLock
from jfr_mp.database.processes import seconds_ago
from jfr_mp.identity import new_lock_id
from jfr_mp.model import utcnow
from jfr_mp.states import UNFINISHED_STATES, FlowState, JobState

if TYPE_CHECKING:
    from jfr_mp.database.connection import Doc, QueueDatabase

logger = logging.getLogger(__name__)

#: A flow in one of these states has ended; it is examined again only if the user asks for it.
_ENDED = (FlowState.COMPLETED, FlowState.FAILED, FlowState.STOPPED)

#: The state of a flow, and how many jobs it lists.
_NUMBERS = {"state": 1, "listed": {"$cond": [{"$isArray": "$ids"}, {"$size": "$ids"}, -1]}}

#: Seconds after which a flow is not being submitted any more: it is inserted before its jobs.
_SUBMITTED_WITHIN = 600.0


@dataclass(frozen=True)
class Finding:
    """One inconsistency of a flow.

    Parameters
    ----------
    flow
        The uuid of the flow.
    problem
        What is wrong, and with which jobs.
    cure
        What was done, would be done in a real run, or has to be done by the user.
    repaired
        Whether it was done.
    """

    flow: str
    problem: str
    cure: str
    repaired: bool = False


class Reconciler:
    """Find inconsistent flows and repair them.

    Parameters
    ----------
    db
        The queue database.
    owner
        The identity of the process, which the locks name.
    dry_run
        Whether to report only.
    """

    def __init__(self, db: QueueDatabase, owner: str, *, dry_run: bool = False) -> None:
        self._db = db
        self._owner = owner
        self._dry_run = dry_run

    def flows(self, *, ended_too: bool = False) -> list[str]:
        """Return the uuids of the flows to examine.

        Parameters
        ----------
        ended_too
            Whether to include flows that are COMPLETED, FAILED or STOPPED.
        """
        query: Doc = {} if ended_too else {"state": {"$nin": [state.value for state in _ENDED]}}
        return [flow["uuid"] for flow in self._db.flows.find({**query, "uuid": IS_TEXT}, {"uuid": 1})]

    def suspects(self, flow_uuid: str) -> bool:
        """Return whether the numbers of a flow and of its jobs leave a reason to examine it.

        The server counts, so that this needs no memory. It is True for every flow with WAITING jobs, one of which may
        wait for nothing, and for every flow whose jobs have all ended.
        """
        listing: list[Doc] = [{"$match": {"uuid": flow_uuid}}, {"$project": _NUMBERS}]
        flow = next(iter(self._db.flows.aggregate(listing)), None)
        if flow is None:
            return False
        counting: list[Doc] = [
            {"$match": {"job.hosts": flow_uuid}},
            {"$group": {"_id": "$state", "number": {"$sum": 1}}},
        ]
        groups = list(self._db.jobs.aggregate(counting))
        if not all(is_state(group["_id"]) for group in groups):
            return True
        states = {JobState(group["_id"]) for group in groups}
        if JobState.WAITING in states or states.isdisjoint(UNFINISHED_STATES):
            return True
        state = FlowState.from_jobs_states(states, {JobState.RUNNING})
        return (flow.get("state"), flow["listed"]) != (state.value, sum(group["number"] for group in groups))

    def examine(self, flow_uuid: str) -> list[Finding]:
        """Examine one flow, and repair it unless this is a dry run.

        Returns
        -------
        list of Finding
            The inconsistencies found. A locked flow is not repaired: its owner is working on it, or the lock is stale
            and will be broken.
        """
        flow = self._db.flows.find_one({"uuid": flow_uuid}, FLOW_FIELDS)
        if flow is None or not (diagnosis := self._diagnose(flow)):
            return []
        if self._dry_run:
            return list(findings_of(flow_uuid, diagnosis, repaired=False))
        lock_id = new_lock_id(self._owner)
        free_doubtful_locks(self._db)
        with in_doubt(self._db, lock_id), MongoLock(self._db.flows, {"uuid": flow_uuid}, lock_id=lock_id) as lock:
            if lock.locked_document is None:
                return [Finding(flow_uuid, "it looks incomplete", f"wait until lock {flow.get('lock_id')} is released")]
            if not (diagnosis := self._diagnose(lock.locked_document)):
                return []
            self._repair(lock, diagnosis)
        findings = list(findings_of(flow_uuid, diagnosis, repaired=True))
        for finding in findings:
            logger.warning("flow %s: %s; %s", finding.flow, finding.problem, finding.cure)
        return findings

    def _diagnose(self, flow: Doc) -> Diagnosis:
        jobs = list(self._db.jobs.find({"job.hosts": flow["uuid"]}, JOB_FIELDS))
        return besides_submission(self._db, flow, diagnose(flow, jobs))

    def _repair(self, lock: MongoLock, diagnosis: Diagnosis) -> None:
        flow: Doc = lock.locked_document or {}
        if diagnosis.empty:
            lock.delete_on_release = True
            return
        if diagnosis.unlisted:
            self._db.flows.update_one({"_id": flow["_id"]}, _listing(diagnosis.unlisted))
        if diagnosis.ready:
            self._db.jobs.update_many(
                {
                    "_id": {"$in": [job["_id"] for job in diagnosis.ready]},
                    "state": JobState.WAITING.value,
                    "lock_id": None,
                },
                {"$set": {"state": JobState.READY.value, "updated_on": utcnow()}},
            )
        update_flow_state(self._db, flow["uuid"])


def _listing(jobs: tuple[Doc, ...]) -> Doc:
    """Return the update that adds jobs to the lists of a flow."""
    return {
        "$addToSet": {
            "jobs": {"$each": [job["uuid"] for job in jobs]},
            "ids": {"$each": [[job["db_id"], job["uuid"], job["index"]] for job in jobs]},
        },
        "$set": {f"parents.{job['uuid']}.{job['index']}": job.get("parents") for job in jobs},
    }


def besides_submission(db: QueueDatabase, flow: Doc, diagnosis: Diagnosis) -> Diagnosis:
    """Return a diagnosis without the jobs that may be missing because their flow is being submitted.

    The jobs of a small flow are inserted together.
    """
    if diagnosis.empty and not _is_old(db, flow, "updated_on"):
        return Diagnosis()
    if diagnosis.missing and len(flow["ids"]) > MOST_AT_ONCE and not _is_old(db, flow, "created_on"):
        return replace(diagnosis, missing=())
    return diagnosis


def _is_old(db: QueueDatabase, flow: Doc, field: str) -> bool:
    """Return whether a time of a flow is so long ago that its jobs are not being inserted any more."""
    long_ago = {"$lt": [f"${field}", seconds_ago(_SUBMITTED_WITHIN)]}
    query = {"_id": flow["_id"], field: IS_DATE, "$expr": long_ago}
    return db.flows.find_one(query, {"_id": 1}) is not None


def findings_of(flow_uuid: str, diagnosis: Diagnosis, *, repaired: bool) -> Iterator[Finding]:
    """Yield the inconsistencies of a flow as findings."""
    wrong = {
        "none of its jobs exists: its submission was interrupted": "delete the flow" if diagnosis.empty else "",
        f"it does not list its jobs {_names(diagnosis.unlisted)}": "list them" if diagnosis.unlisted else "",
        f"its jobs {_names(diagnosis.ready)} are WAITING although their parents are done": (
            "make them READY" if diagnosis.ready else ""
        ),
        "its state is out of date": f"set it to {diagnosis.state.value}" if diagnosis.state else "",
    }
    for problem, cure in wrong.items():
        if cure:
            yield Finding(flow_uuid, problem, cure, repaired)
    if diagnosis.missing:
        yield Finding(
            flow_uuid,
            f"its jobs {', '.join(diagnosis.missing)} do not exist: its submission was interrupted",
            "delete the flow and submit it again",
        )


def _names(jobs: tuple[Doc, ...]) -> str:
    return ", ".join(str(job["db_id"]) for job in jobs)
