"""The end of a job: everything that jobflow can return, on a server with transactions and on one without."""

from __future__ import annotations

import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest
from jobflow import Flow, JobOrder, OnMissing, Response, job

from jfr_mp.database.claims import claim
from jfr_mp.database.commits import commit
from jfr_mp.database.completion import complete
from jfr_mp.database.filters import JobFilter
from jfr_mp.database.flow_lock import COMPLETING
from jfr_mp.database.processes import free_locks
from jfr_mp.errors import LeaseLost
from jfr_mp.outcomes import Added, Advance, Completion
from jfr_mp.states import JobState
from jfr_mp.step_table import CHECKOUT, COMPLETE
from tests.support.jobs import (
    add,
    addition,
    chain,
    detour,
    replace_with,
    replace_with_large,
    stops_children,
    stops_jobflow,
    total,
)
from tests.support.waiting import wait_until

FAILED = Completion(JobState.FAILED, error="Traceback: it broke", queue_err="killed")
READY = (JobState.READY,)


@job
def returns_everything() -> Response[Any]:
    """Return a replacement, an addition and a detour at once."""
    parts = [add(1, 2), add(3, 4)]
    last = total([part.output for part in parts])
    return Response(
        replace=Flow([*parts, last], output=last.output),
        addition=add(5, 6),
        detour=Flow([chain(2), add(7, 8)]),
        stored_data={"left": "here"},
    )


def test_the_end_of_a_flow_costs_the_same_for_any_number_of_jobs(any_queue: Any) -> None:
    # Given a flow of which all jobs but one are COMPLETED
    jobs = [add(number) for number in range(30)]
    any_queue.add(Flow([*jobs]))
    for each in jobs[1:]:
        any_queue.put(each, JobState.COMPLETED)
    # When the last one is completed
    database = any_queue.db.db
    database.command("profile", 2)
    any_queue.complete(jobs[0], Completion(JobState.COMPLETED))
    database.command("profile", 0)
    # Then the flow is COMPLETED, and hardly any document of a job was read for that
    assert any_queue.flow(jobs[0])["state"] == "COMPLETED"
    read = [
        entry.get("docsExamined", 0) for entry in database["system.profile"].find({"ns": any_queue.db.jobs.full_name})
    ]
    assert read
    assert max(read) <= 1


def test_new_jobs_that_do_not_fit_into_the_cache_of_the_server(queue: Any, run_job: Any) -> None:
    # Given a job that replaces itself by jobs with large inputs, too large for a transaction of this server
    parent = replace_with_large(400, 200_000)
    queue.add(parent)
    # When it is completed
    assert queue.complete(parent, run_job(parent)) == READY
    # Then all of them are there, and the flow has them
    states = Counter(job["state"] for job in queue.db.jobs.find({}, {"state": 1}))
    assert states == {"COMPLETED": 1, "READY": 400}
    document = queue.flow(parent)
    assert (len(document["ids"]), document["state"], document["lock_id"]) == (401, "RUNNING", None)


def test_a_completed_job_frees_its_child(any_queue: Any) -> None:
    # Given a chain of two
    flow = chain(2)
    first, last = flow.jobs
    any_queue.add(flow)
    started, ended = datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 2, tzinfo=UTC)

    # When the first is completed
    news = any_queue.complete(
        first, Completion(JobState.COMPLETED, start_time=started, end_time=ended, stored_data={"a": 1})
    )

    # Then its child is ready, its document tells the story, and the flow runs
    assert news == READY
    assert any_queue.job(last)["state"] == "READY"
    document = any_queue.job(first)
    assert (document["state"], document["stored_data"], document["error"]) == ("COMPLETED", {"a": 1}, None)
    assert document["start_time"].replace(tzinfo=UTC) == started
    assert document["end_time"].replace(tzinfo=UTC) == ended
    assert document["lock_id"] is None
    assert (any_queue.flow(first)["state"], any_queue.flow(first)["lock_id"]) == ("RUNNING", None)

    # And when the last is, the flow is
    assert any_queue.complete(last) == ()
    assert any_queue.flow(first)["state"] == "COMPLETED"


def test_a_child_waits_for_all_of_its_parents(any_queue: Any) -> None:
    # Given a job with three parents
    parents = [add(number) for number in range(3)]
    last = total([parent.output for parent in parents])
    any_queue.add(Flow([*parents, last]))

    # When they are completed one by one, then the last one frees it
    assert [any_queue.complete(parent) for parent in parents] == [(), (), READY]
    assert any_queue.job(last)["state"] == "READY"


def test_a_failed_job_fails_its_flow_and_keeps_its_children_waiting(any_queue: Any) -> None:
    flow = chain(2)
    any_queue.add(flow)
    assert any_queue.complete(flow.jobs[0], FAILED) == ()
    document = any_queue.job(flow.jobs[0])
    assert (document["state"], document["error"]) == ("FAILED", "Traceback: it broke")
    assert document["remote"]["queue_err"] == "killed"
    assert any_queue.job(flow.jobs[1])["state"] == "WAITING"
    assert any_queue.flow(flow.jobs[0])["state"] == "FAILED"


@pytest.mark.parametrize("missing", [OnMissing.NONE, OnMissing.PASS, OnMissing.ERROR])
def test_a_child_that_accepts_missing_references_runs_after_a_failure(any_queue: Any, missing: OnMissing) -> None:
    # Given a child of two jobs
    good, bad = add(1), add(2)
    last = total([good.output, bad.output])
    last.config.on_missing_references = missing
    any_queue.add(Flow([good, bad, last]))

    # When one of them fails and the other does not
    any_queue.complete(bad, FAILED)
    any_queue.complete(good)

    # Then it depends on what the child accepts; and with its leaf the flow is COMPLETED
    accepts = missing is not OnMissing.ERROR
    assert any_queue.job(last)["state"] == ("READY" if accepts else "WAITING")
    if accepts:
        any_queue.complete(last)
        assert any_queue.flow(last)["state"] == "COMPLETED"


def test_a_replacement_takes_the_place_of_the_job(any_queue: Any, run_job: Any) -> None:
    # Given a job that replaces itself, with a parent and a child
    first, middle = add(1), replace_with([1, 2])
    child = add(middle.output)
    flow = Flow([Flow([first, middle], order=JobOrder.LINEAR), child])
    any_queue.add(flow)
    any_queue.complete(first)

    # When it is completed
    assert any_queue.complete(middle, run_job(middle)) == READY

    # Then the new jobs are in the flow, those without parents of their own with the job's, and ready
    last = any_queue.job(middle, index=2)
    [summed] = last["parents"]
    parts = [any_queue.job(uuid) for uuid in any_queue.job(summed)["parents"]]
    assert [(part["state"], part["parents"], part["worker"]) for part in parts] == [
        ("READY", [first.uuid], "local")
    ] * 2
    assert (last["state"], last["job"]["hosts"][-1]) == ("WAITING", flow.uuid)
    stored = any_queue.flow(first)
    new = {summed, *(part["uuid"] for part in parts)}
    assert stored["state"] == "RUNNING"
    assert sorted(stored["jobs"]) == sorted({first.uuid, middle.uuid, child.uuid, *new})
    assert [last["db_id"], middle.uuid, 2] in stored["ids"]
    assert stored["parents"][middle.uuid]["2"] == [summed]
    assert any_queue.job(child)["state"] == "WAITING"

    # And the last of them frees the child
    for uuid in new:
        any_queue.put(uuid, JobState.COMPLETED)
    middle.index = 2
    assert any_queue.complete(middle) == READY
    assert any_queue.job(child)["state"] == "READY"


def test_a_replacement_without_parents_is_ready_at_once(any_queue: Any, run_job: Any) -> None:
    only = replace_with([1])
    any_queue.add(only)
    assert any_queue.complete(only, run_job(only)) == READY
    assert sorted(any_queue.states().values()) == ["COMPLETED", "READY", "WAITING", "WAITING"]


def test_a_detour_goes_before_the_children(any_queue: Any, run_job: Any) -> None:
    # Given a job that takes a detour, and its child
    first = detour(1)
    child = add(first.output)
    any_queue.add(Flow([first, child]))

    # When it is completed
    assert any_queue.complete(first, run_job(first)) == READY

    # Then the child waits for the detour as well, in both collections
    [extra] = any_queue.db.jobs.find({"uuid": {"$nin": [first.uuid, child.uuid]}})
    assert (extra["state"], extra["parents"]) == ("READY", [first.uuid])
    assert any_queue.job(child)["state"] == "WAITING"
    assert any_queue.job(child)["parents"] == [first.uuid, extra["uuid"]]
    assert any_queue.flow(first)["parents"][child.uuid]["1"] == [first.uuid, extra["uuid"]]

    # And runs after it
    any_queue.put(extra["uuid"], JobState.DOWNLOADED)
    with any_queue.claimed(COMPLETE) as claim:
        commit(any_queue.db, claim, COMPLETE, Completion(JobState.COMPLETED), any_queue.policy)
    assert any_queue.job(child)["state"] == "READY"


def test_an_addition_goes_beside_the_children(any_queue: Any, run_job: Any) -> None:
    first = addition(1)
    child = add(first.output)
    any_queue.add(Flow([first, child]), priority=4, resources={"nodes": 2})
    any_queue.complete(first, run_job(first))
    [extra] = any_queue.db.jobs.find({"uuid": {"$nin": [first.uuid, child.uuid]}})
    assert (extra["state"], extra["parents"]) == ("READY", [first.uuid])
    assert (extra["priority"], extra["resources"]) == (4, {"nodes": 2})
    assert any_queue.job(child)["state"] == "READY"


@pytest.mark.parametrize(
    ("stopper", "far"),
    [(stops_children, "WAITING"), (stops_jobflow, "STOPPED")],
)
def test_a_job_can_stop_what_follows(any_queue: Any, run_job: Any, stopper: Any, far: str) -> None:
    # Given a job that stops, with a child, a grandchild and a job that is running
    first, busy = stopper(1), add(0)
    child = add(first.output)
    grandchild = add(child.output)
    any_queue.add(Flow([first, child, grandchild, busy]))
    any_queue.put(busy, JobState.RUNNING)

    # When it is completed
    assert any_queue.complete(first, run_job(first)) == ()

    # Then what it asked for is stopped, and what runs goes on
    assert any_queue.job(child)["state"] == "STOPPED"
    assert any_queue.job(grandchild)["state"] == far
    assert any_queue.job(busy)["state"] == "RUNNING"
    assert any_queue.flow(first)["state"] == "STOPPED"


def test_a_stopped_flow_stops_a_job_that_is_just_being_checked_out(any_queue: Any, run_job: Any) -> None:
    # Given a ready job that we, and one that the peer, have locked
    first, ours, peers = stops_jobflow(1), add(2), add(3)
    any_queue.add(Flow([first, ours, peers]))
    any_queue.put(peers, JobState.READY, lock_id="of the peer")
    with any_queue.claimed(CHECKOUT, JobFilter(uuids=[ours.uuid])) as claim:
        # When the flow is stopped meanwhile
        any_queue.complete(first, run_job(first))

        # Then our checkout finds out, and only the peer's goes on
        with pytest.raises(LeaseLost):
            commit(any_queue.db, claim, CHECKOUT, Advance(JobState.CHECKED_OUT), any_queue.policy)
    assert (any_queue.job(ours)["state"], any_queue.job(ours)["lock_id"]) == ("STOPPED", None)
    assert any_queue.job(peers)["state"] == "READY"


def test_jobs_added_by_a_job_that_stops_are_stopped(any_queue: Any, run_job: Any) -> None:
    first = replace_with([1, 2])
    any_queue.add(first)
    response = run_job(first)
    any_queue.complete(first, Completion(JobState.COMPLETED, added=response.added, stop_children=True))
    assert set(any_queue.states().values()) == {"COMPLETED", "STOPPED"}


def test_a_flow_within_flows_is_one_flow(any_queue: Any) -> None:
    # Given flows in flows
    inner = chain(2)
    after = add(inner.output)
    any_queue.add(Flow([Flow([inner], output=inner.output), after], name="outer"))

    # When all is completed
    for member in (*inner.jobs, after):
        any_queue.complete(member)

    # Then the one flow is
    [flow] = any_queue.db.flows.find()
    assert (flow["name"], flow["state"]) == ("outer", "COMPLETED")


def test_many_completions_of_one_flow_at_a_time(any_queue: Any) -> None:
    # Given a wide flow, all of it downloaded
    parts = [add(number) for number in range(16)]
    last = total([part.output for part in parts])
    any_queue.add(Flow([*parts, last]))
    for part in parts:
        any_queue.put(part, JobState.DOWNLOADED)
    db, done = any_queue.db, {"state": "COMPLETED"}

    # When several processes complete it
    def work(number: int) -> int:
        ready = 0

        def empty() -> bool:
            nonlocal ready
            with claim(db, COMPLETE, f"host:{number}:aaaa") as claims:
                for each in claims:
                    ready += len(commit(db, each, COMPLETE, Completion(JobState.COMPLETED), any_queue.policy))
            return db.jobs.count_documents(done) == len(parts)

        wait_until(empty, 60, "the completion of all parts")
        return ready

    with ThreadPoolExecutor(6) as pool:
        ready = sum(pool.map(work, range(6)))

    # Then nothing is lost, the child is freed once, and nobody spent an attempt
    assert ready == 1
    assert any_queue.job(last)["state"] == "READY"
    assert db.jobs.count_documents({**done, "remote.step_attempts": 0, "lock_id": None}) == len(parts)
    assert any_queue.flow(last)["state"] == "RUNNING"
    assert any_queue.flow(last)["lock_id"] is None


class Killed(BaseException):
    """The process is dead: it does nothing any more, not even clean up."""


class MortalCollection:
    """A collection whose process dies right after a given number of writes, on whichever of its collections.

    Parameters
    ----------
    collection
        The real one.
    life
        A list with one number, the writes that are left, shared by the collections of a process.
    """

    WRITES = frozenset(
        {"insert_one", "insert_many", "update_one", "update_many", "find_one_and_update", "delete_one", "bulk_write"}
    )

    def __init__(self, collection: Any, life: list[int]) -> None:
        self._collection = collection
        self._life = life

    def __getattr__(self, name: str) -> Any:
        member = getattr(self._collection, name)
        if name not in self.WRITES:
            return member

        def write(*args: Any, **kwargs: Any) -> Any:
            if self._life[0] <= 0:
                raise Killed
            result = member(*args, **kwargs)
            self._life[0] -= 1
            if self._life[0] <= 0:
                raise Killed
            return result

        return write


COLLECTIONS = ("jobs", "flows", "auxiliary")


def _dump(db: Any) -> dict[str, list[dict[str, Any]]]:
    return {name: list(getattr(db, name).find()) for name in COLLECTIONS}


def _restore(db: Any, dump: dict[str, list[dict[str, Any]]]) -> None:
    for name, documents in dump.items():
        getattr(db, name).delete_many({})
        getattr(db, name).insert_many(documents)


def _essence(db: Any) -> Any:
    """Return what must not depend on the number of attempts: all but times, and db_ids given out in vain."""
    names = {job["db_id"]: f"{job['uuid']}/{job['index']}" for job in db.jobs.find()}
    jobs, volatile = {}, {"_id", "db_id", "created_on", "updated_on", COMPLETING}
    for document in db.jobs.find():
        kept = {key: value for key, value in document.items() if key not in volatile}
        jobs[names[document["db_id"]]] = kept | {"parents": sorted(kept["parents"] or [])}
    [flow] = db.flows.find()
    ids = sorted((names[db_id], uuid, index) for db_id, uuid, index in flow["ids"])
    parents = {uuid: {i: sorted(p or []) for i, p in by_index.items()} for uuid, by_index in flow["parents"].items()}
    kept = {key: value for key, value in flow.items() if key not in volatile}
    return jobs, kept | {"ids": ids, "jobs": sorted(flow["jobs"]), "parents": parents}


def _attempt(queue: Any, uuid: str, owner: str, completion: Completion) -> None:
    with queue.claimed(COMPLETE, JobFilter(uuids=[uuid]), owner) as claim:
        complete(queue.db, claim, completion)


def _die_after(queue: Any, writes: int, uuid: str, completion: Completion) -> bool:
    """Complete a job in a process that dies after some writes; return whether it did."""
    db, owner = queue.db, f"host:{writes}:dead"
    real = {name: getattr(db, name) for name in COLLECTIONS}
    with queue.claimed(COMPLETE, JobFilter(uuids=[uuid]), owner) as claim:
        life = [writes]
        for name, collection in real.items():
            setattr(db, name, MortalCollection(collection, life))
        try:
            complete(db, claim, completion)
        except Killed:
            claim.held = False
        finally:
            for name, collection in real.items():
                setattr(db, name, collection)
    free_locks(db, owner)
    return life[0] <= 0


@pytest.mark.parametrize(
    "stops",
    [{}, {"stop_children": True}, {"stop_jobflow": True}, {"added": ()}],
    ids=["dynamic", "stop_children", "stop_jobflow", "plain"],
)
def test_dying_after_any_write_and_repeating_ends_the_same(any_queue: Any, run_job: Any, stops: Any) -> None:
    # Given a job that returns everything, with a parent, two children, and a bystander
    before, middle, bystander = add(0), returns_everything(), add(9)
    children = [add(middle.output), add(middle.output)]
    any_queue.add(Flow([Flow([before, middle], order=JobOrder.LINEAR), *children, bystander]))
    any_queue.complete(before)
    any_queue.put(middle, JobState.DOWNLOADED)
    response = run_job(middle)
    completion = Completion(**{**vars(response), "stored_data": {"a": 1}, **stops})
    start = _dump(any_queue.db)

    # And the end of it without any death
    _attempt(any_queue, middle.uuid, "host:1:aaaa", completion)
    expected = _essence(any_queue.db)

    # When a process dies after its first, second, ... last write and another one takes over
    deaths = 0
    while True:
        _restore(any_queue.db, start)
        if not _die_after(any_queue, deaths + 1, middle.uuid, completion):
            break
        deaths += 1
        if any_queue.job(middle)["state"] == "DOWNLOADED":
            _attempt(any_queue, middle.uuid, "host:2:bbbb", completion)

        # Then the end is the same
        assert _essence(any_queue.db) == expected, f"after a death at write {deaths}"
    # Within a transaction the flow is not locked and unlocked.
    assert deaths >= (3 if any_queue.db.supports_transactions else 4)


def test_a_transaction_that_dies_leaves_nothing(queue: Any, run_job: Any) -> None:
    # Given a job that returns everything
    only = returns_everything()
    queue.add(only)
    queue.put(only, JobState.DOWNLOADED)
    completion = run_job(only)
    before = _essence(queue.db)

    # When its completion dies at any write before the last
    assert _die_after(queue, 6, only.uuid, completion)

    # Then nothing of it is to be seen
    assert _essence(queue.db) == before


def test_a_stored_document_is_not_changed_by_completing_it(any_queue: Any, run_job: Any) -> None:
    # Given a completion
    only = returns_everything()
    any_queue.add(only)
    completion = run_job(only)
    as_before = repr(completion)

    # When it is written, then it can be written again: nothing in it was touched
    any_queue.complete(only, completion)
    assert repr(completion) == as_before


def _bad_uuid(flow: dict[str, Any], _other: str) -> None:
    flow["jobs"][0]["uuid"] = "../../x"


def _of_another_flow(flow: dict[str, Any], other: str) -> None:
    flow["jobs"][0]["uuid"] = other


def _class(flow: dict[str, Any], _other: str) -> None:
    flow["jobs"][0]["config"] = {"@module": "antigravity", "@class": "Planted", "planted": 1}


def _no_jobs(flow: dict[str, Any], _other: str) -> None:
    flow["jobs"] = {"a": 1}


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (_bad_uuid, "bad uuid or index: '../../x'"),
        (_of_another_flow, "contains a job of another flow"),
        (_class, "is not a valid flow"),
        (_no_jobs, "is not a valid flow"),
    ],
)
@pytest.mark.parametrize("kind", list(Added))
def test_a_bad_flow_that_a_job_returned_fails_it_once(any_queue: Any, damage: Any, says: str, kind: Added) -> None:
    # Given a job with a child, and a job of another flow
    flow, other = chain(2), add(1)
    any_queue.add(flow)
    any_queue.add(other)
    # When it returns a flow that is damaged
    returned = Flow([add(2)]).as_dict()
    damage(returned, other.uuid)
    any_queue.complete(flow.jobs[0], Completion(JobState.COMPLETED, added=((kind, returned),)))
    # Then it is FAILED, with one line, nothing was added, and nothing that it names was imported
    document = any_queue.job(flow.jobs[0])
    assert (document["state"], document["lock_id"], document["remote"]["step_attempts"]) == ("FAILED", None, 0)
    assert says in document["error"]
    assert "Traceback" not in document["error"]
    assert any_queue.db.jobs.count_documents({}) == 3
    assert "antigravity" not in sys.modules
