"""Events: none missing, none out of order, resumed over restarts, and told by documents where no log reaches."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import Any
from uuid import uuid4

import pytest
from jobflow import Flow

from jfr_mp import events_async, submit_flow
from jfr_mp.api.events import EventFilter, EventReader, events, read_events
from jfr_mp.config import ConfigManager
from jfr_mp.database.connection import QueueDatabase
from jfr_mp.database.job_events import JobEvent
from jfr_mp.errors import InvalidQuery, NotFound
from jfr_mp.states import JobState
from tests.support.jobs import add, chain
from tests.support.mongod import Mongod
from tests.support.projects import ProjectFactory, TestProject
from tests.support.waiting import wait_until

PATH = ["CHECKED_OUT", "UPLOADED", "SUBMITTED", "RUNNING", "RUN_FINISHED", "DOWNLOADED", "COMPLETED"]
LONG_AGO = datetime.now(UTC) - timedelta(days=1)


@pytest.fixture
def project(fresh_project: ProjectFactory) -> TestProject:
    return fresh_project()


@pytest.fixture
def db(project: TestProject) -> Iterator[QueueDatabase]:
    opened = QueueDatabase.connect(ConfigManager().get_project())
    yield opened
    opened.close()


def enter(project: TestProject, db_id: str, state: str, **fields: Any) -> None:
    """Let a job enter a state, as any program may write it."""
    fields = {"state": state, "updated_on": datetime.now(UTC), **fields}
    assert project.db.jobs.update_one({"db_id": db_id}, {"$set": fields}).modified_count


def told(found: list[JobEvent]) -> dict[str | None, list[str | None]]:
    """Return what was told of each job, in order."""
    jobs = defaultdict(list)
    for event in found:
        jobs[event.db_id].append(event.state if event.kind != "deleted" else "deleted")
    return dict(jobs)


def until_now(db: QueueDatabase, **start: Any) -> list[JobEvent]:
    return list(read_events(EventReader(db, **start), follow=False))


def test_each_state_of_each_job_is_told_once_and_in_order(project: TestProject, db: QueueDatabase) -> None:
    # Given a reader that starts before the flow is submitted, and jobs that many writers move at once
    reader = EventReader(db)
    db_ids = submit_flow(chain(1)) + submit_flow(add(1)) + submit_flow(add(2))

    def run(db_id: str) -> None:
        for state in PATH:
            enter(project, db_id, state)
            project.db.jobs.update_one({"db_id": db_id}, {"$set": {"priority": 1, "state": state}})

    writers = [Thread(target=run, args=(db_id,)) for db_id in db_ids]
    for writer in writers:
        writer.start()
    # When they are read meanwhile, in part, and the rest by another reader that has only the token
    first = [event for event in (reader.next() for _ in range(8)) if event]
    reader.close()
    for writer in writers:
        writer.join()
    rest = until_now(db, token=first[-1].token)
    # Then nothing is missing and nothing comes twice
    assert told(first + rest) == {db_id: ["READY", *PATH] for db_id in db_ids}
    assert {event.name for event in rest} <= {"link", "add"}
    assert {event.source for event in rest} == {"stream"}
    assert all(event.flow_id and event.uuid and event.worker == "local" for event in rest)


def test_failures_have_their_error_and_deleted_jobs_their_name(project: TestProject, db: QueueDatabase) -> None:
    reader = EventReader(db)
    (db_id,) = submit_flow(add(1))
    enter(project, db_id, "FAILED", error="Traceback\nValueError: no")
    enter(project, db_id, "REMOTE_ERROR", **{"error": None, "remote.error": "disk full"})
    project.db.jobs.delete_one({"db_id": db_id})
    found = list(read_events(reader, follow=False)) or until_now(db, since=LONG_AGO)
    wait_until(lambda: reader.caught_up, 10, "the reader to catch up")
    assert [event.kind for event in found][:1] == ["created"]
    by_state = {event.state or event.kind: event for event in until_now(db, since=LONG_AGO)}
    assert by_state["FAILED"].error == "Traceback\nValueError: no"


def test_a_deleted_job_is_told_by_its_id(project: TestProject, db: QueueDatabase) -> None:
    reader = EventReader(db)
    (db_id,) = submit_flow(add(1))
    assert _next(reader).kind == "created"
    enter(project, db_id, "REMOTE_ERROR", **{"remote.error": "disk full"})
    assert _next(reader).error == "disk full"
    project.db.jobs.delete_one({"db_id": db_id})
    deleted = _next(reader)
    assert (deleted.kind, deleted.db_id, deleted.name, deleted.state) == ("deleted", db_id, "add", None)
    reader.close()


def _next(reader: EventReader) -> JobEvent:
    found: list[JobEvent] = []

    def one() -> bool:
        found.extend(event for event in [reader.next()] if event)
        return bool(found)

    wait_until(one, 10, "an event")
    return found[0]


def test_events_are_selected(project: TestProject, db: QueueDatabase) -> None:
    start = datetime.now(UTC) - timedelta(seconds=1)
    first, second = submit_flow(add(1)) + submit_flow(add(2))
    enter(project, first, "FAILED")
    reader = EventReader(db, since=start)
    wanted = EventFilter(states=[JobState.FAILED, JobState.READY], db_ids=[first], workers=["local"])
    assert told(list(read_events(reader, follow=False, wanted=wanted))) == {first: ["READY", "FAILED"]}
    assert second not in told(until_now(db, since=datetime.now(UTC) + timedelta(hours=1)))


def test_the_server_restarts_and_nothing_is_missing(fresh_project: ProjectFactory, own_mongod: Mongod) -> None:
    # Given someone who follows
    project = fresh_project("own", server=own_mongod)
    (db_id,) = submit_flow(add(1))
    found: list[JobEvent] = []
    last = [state for state in PATH if state != "COMPLETED"]

    def follow() -> None:
        for event in events(since=datetime.now(UTC) - timedelta(minutes=1)):
            found.append(event)
            if event.state == "COMPLETED":
                return

    follower = Thread(target=follow)
    follower.start()
    # When the server is killed between the states
    for number, state in enumerate(last):
        enter(project, db_id, state)
        if number == 2:
            wait_until(lambda: len(found) >= 2, 20, "the first events")
            own_mongod.kill()
            own_mongod.start()
    enter(project, db_id, "COMPLETED")
    follower.join(60)
    # Then each state is told once
    assert told(found) == {db_id: ["READY", *PATH]}


def test_documents_tell_what_the_log_has_lost(project: TestProject, db: QueueDatabase) -> None:
    # Given a job that ended before the server's log began, and one that moves while the history is read
    old, new = submit_flow(add(1)) + submit_flow(add(2))
    hour = datetime.now(UTC) - timedelta(hours=1)
    times = {name: hour + timedelta(minutes=n) for n, name in enumerate(("created_on", "start_time", "end_time"))}
    enter(project, old, "COMPLETED", updated_on=hour + timedelta(minutes=5), **times)
    reader = EventReader(db, token=f"h{int((hour - timedelta(hours=1)).timestamp() * 1000)}.0.")
    for state in PATH:
        enter(project, new, state)
    found = list(read_events(reader, follow=False))
    rest = found + until_now(db, token=found[-1].token)
    # Then the history is told first, and the log from there on, without a gap or a repetition
    assert [event.state for event in rest if event.db_id == old] == [None, "RUNNING", "RUN_FINISHED", "COMPLETED"]
    assert [event.state for event in rest if event.db_id == new] == [None, "READY", *PATH]
    # And who stops within the history goes on within it
    again = until_now(db, token=found[1].token)
    assert [event.state for event in again if event.db_id == old] == ["RUN_FINISHED", "COMPLETED"]


def test_a_log_that_no_longer_reaches_back(project: TestProject, db: QueueDatabase) -> None:
    # Given a token of a time before the server's log
    (db_id,) = submit_flow(add(1))
    (event,) = until_now(db, since=LONG_AGO)
    lost = event.token[:3] + "00000001" + event.token[11:]
    # Then the error says what to do, and if a time is given as well, the documents answer
    with pytest.raises(NotFound, match="give a time"):
        until_now(db, token=lost)
    found = until_now(db, token=lost, since=LONG_AGO)
    assert [(event.kind, event.source) for event in found] == [("created", "history"), ("state", "history")]
    # And the stream goes on behind them
    enter(project, db_id, "RUNNING")
    assert [(event.state, event.source) for event in until_now(db, token=found[-1].token)][-1] == ("RUNNING", "history")


def test_a_server_without_a_log_is_polled(fresh_project: ProjectFactory, mongod_standalone: Mongod) -> None:
    project = fresh_project("alone", server=mongod_standalone)
    (db_id,) = submit_flow(add(1))
    db = QueueDatabase.connect(ConfigManager().get_project())
    reader = EventReader(db, since=LONG_AGO)
    assert [_next(reader).kind, _next(reader).state] == ["created", "READY"]
    enter(project, db_id, "RUNNING")
    assert _next(reader).state == "RUNNING"
    (later,) = submit_flow(add(2))
    event = _next(reader)
    assert (event.db_id, event.state, event.source) == (later, "READY", "history")
    db.close()


@pytest.mark.parametrize("source", ["stream", "history"])
def test_the_flow_of_an_event_is_the_one_that_lists_the_job(
    project: TestProject, db: QueueDatabase, source: str
) -> None:
    # Given flows of several jobs in an inner flow, to which the user has added another host
    flows = [Flow([chain(3)]) for _ in range(5)]
    for flow in flows:
        flow.add_hosts_uuids([str(uuid4())])
    start = {"since": datetime.now(UTC) - timedelta(seconds=1)} if source == "stream" else {"token": "h0.0.0"}
    for flow in flows:
        submit_flow(flow)
    # When their events are read
    db.db.command("profile", 2)
    found = until_now(db, **start)
    db.db.command("profile", 0)
    # Then each names the flow of its job, and they cost a query for each flow at the most
    expected = [(job.uuid, flow.uuid) for flow in flows for job, _ in flow.iterflow()]
    assert {(event.uuid, event.flow_id) for event in found} == set(expected)
    assert {event.source for event in found} == {source}
    queries = db.db["system.profile"].count_documents({"ns": db.flows.full_name, "op": "query"})
    assert queries == 5 if source == "stream" else queries <= 1


@pytest.mark.parametrize("token", ["x", "s82zz", "s", "h12", "hx.1.2"])
def test_a_token_has_to_be_one(db: QueueDatabase, token: str) -> None:
    with pytest.raises(InvalidQuery, match="is not a token"):
        EventReader(db, token=token)


def test_an_async_iterator(project: TestProject) -> None:
    start = datetime.now(UTC) - timedelta(seconds=1)
    (db_id,) = submit_flow(add(1))

    async def follow() -> list[str | None]:
        found = []
        async for event in events_async(since=start):
            found.append(event.state)
            if event.state == "FAILED":
                break
            await asyncio.to_thread(enter, project, db_id, "FAILED")
        return found

    assert asyncio.run(asyncio.wait_for(follow(), 20)) == ["READY", "FAILED"]


def test_the_command_prints_lines(project: TestProject) -> None:
    (db_id,) = submit_flow(add(1))
    enter(project, db_id, "FAILED", error="Traceback\nValueError: \x1b[31mno")
    printed = command("events")
    assert f"{db_id}  FAILED" in printed
    assert "ValueError: \N{REPLACEMENT CHARACTER}[31mno" in printed
    lines = [json.loads(line) for line in command("events", "--json").splitlines()]
    assert [(line["version"], line["kind"], line["state"]) for line in lines] == [
        (1, "created", "READY"),
        (1, "state", "FAILED"),
    ]
    enter(project, db_id, "READY")
    later = [json.loads(line) for line in command("events", "--json", "--token", lines[0]["token"]).splitlines()]
    assert [line["state"] for line in later] == ["FAILED", "READY"]
    assert [json.loads(line)["state"] for line in command("events", "--json", "-s", "F").splitlines()] == ["FAILED"]


def command(*words: str) -> str:
    argv = [sys.executable, "-c", "import sys; from jfr_mp.cli import main; sys.exit(main())", *words]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
