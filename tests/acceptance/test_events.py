"""Events while processes are killed: none is missing, none comes twice, and those of a job are in order."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections import defaultdict
from functools import partial
from typing import Any

import pytest

from tests.support.processes import JFR_MP, Processes
from tests.support.user import User
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(300)

JOBS = 12


def follow(user: User, processes: Processes, *options: str) -> subprocess.Popen[bytes]:
    argv = [JFR_MP, "events", "-f", "--json", *options]
    return processes.start(argv, env={**user.project.env, "PYTHONUNBUFFERED": "1"})


def told(processes: Processes, reader: subprocess.Popen[bytes]) -> list[dict[str, Any]]:
    """Return the events that a reader has printed; one that was killed may have printed a part of a line."""
    lines = processes.output(reader).splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("\n")]


def has_told(processes: Processes, reader: subprocess.Popen[bytes], number: int) -> bool:
    return len(told(processes, reader)) >= number


def truth(user: User, since: Any) -> dict[str, list[str]]:
    """Return the states that each job has entered, as the change stream of the server tells it."""
    jobs, names = defaultdict(list), {job["_id"]: job["db_id"] for job in user.project.db.jobs.find()}
    with user.project.db.jobs.watch(start_at_operation_time=since, max_await_time_ms=500) as stream:
        while (change := stream.try_next()) is not None:
            changed = change.get("fullDocument") or change["updateDescription"]["updatedFields"]
            if "state" in changed:
                jobs[names[change["documentKey"]["_id"]]].append(changed["state"])
    return dict(jobs)


def test_events_are_complete_and_in_order_under_kills(user: User, processes: Processes) -> None:
    # Given a reader, and jobs on their way
    since = user.project.server.client.admin.command("hello")["operationTime"]
    reader = follow(user, processes, "--since", "1m")
    roles = {role["name"]: role["pid"] for role in user.start()["roles"]}
    flow = user.submit(f"Flow([add(n) for n in range({JOBS})])")

    # When role processes are killed, and so is the reader, which goes on behind its last token
    for number, name in enumerate(("transfer-1", "queue-1", "complete-1"), 1):
        wait_until(partial(has_told, processes, reader, number * JOBS), 60, f"{number * JOBS} events")
        os.kill(roles[name], signal.SIGKILL)
    reader.kill()
    reader.wait()
    before = told(processes, reader)
    later = follow(user, processes, "--token", before[-1]["token"])
    flow.wait_for("COMPLETED", timeout=120)
    expected = truth(user, since)
    number_of_events = sum(map(len, expected.values()))
    wait_until(lambda: len(before) + len(told(processes, later)) >= number_of_events, 60, "the last event")

    # Then both readers together tell what the server tells, job by job
    found = defaultdict(list)
    for event in before + told(processes, later):
        found[event["db_id"]].append(event["state"])
    assert dict(found) == expected
    assert {states[-1] for states in found.values()} == {"COMPLETED"}
    assert len(found) == JOBS
