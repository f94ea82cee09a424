"""Notifications: each arrives once, whatever is killed in between, no job waits for them, and no secret is told."""

from __future__ import annotations

import json
import os
import re
import signal
from collections import Counter
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from jfr_mp.errors import ExitCode
from tests.acceptance.conftest import NewUser
from tests.support.processes import free_port, wait_gone
from tests.support.receivers import MailServer, Webhook
from tests.support.user import User, all_pids
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(300)

SECRET = "hunter2-path"


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with Webhook() as server:
        yield server


@pytest.fixture
def mail() -> Iterator[MailServer]:
    with MailServer() as server:
        yield server


def options(**changes: Any) -> dict[str, Any]:
    rule = {"on": ["job_failed", "flow_failed"], "to": ["mail", "hook"], "interval": 2, **changes}
    targets = {"mail": {"env": "MAIL_URL"}, "hook": {"env": "HOOK_URL"}}
    # Senders are kept waiting for longer than usual.
    return {"jfr_mp": {"notify": {"targets": targets, "rules": {"all": rule}, "timeout": 120}}}


@pytest.fixture
def notified(new_user: NewUser, webhook: Webhook, mail: MailServer, monkeypatch: pytest.MonkeyPatch) -> User:
    """A user who is notified of what fails by both servers."""
    monkeypatch.setenv("HOOK_URL", webhook.url(SECRET))
    monkeypatch.setenv("MAIL_URL", mail.url("bob"))
    return new_user(metadata=options())


def deliverers(master: int) -> list[psutil.Process]:
    children = psutil.Process(master).children()
    return [child for child in children if "jfr_mp.notify" in child.cmdline()]


def told(bodies: list[str]) -> Counter[str]:
    """Return how often each job was told."""
    return Counter(re.findall(r"^job (\d+) \(raises\)", "\n".join(bodies), re.MULTILINE))


def waiting(user: User) -> int:
    return user.project.db.jfr_mp_notifications.count_documents({"kind": "notice", "done_on": {"$exists": False}})


def test_each_notification_arrives_once_although_the_sender_is_killed(
    notified: User, webhook: Webhook, mail: MailServer
) -> None:
    # Given a message that both servers are about to receive, and keep waiting
    user, failing = notified, "Flow([raises('disk full'), raises(), raises()], order='auto')"
    gates = (webhook.gate, mail.gate)
    for gate in gates:
        gate.close()
    master = user.start()
    first = user.submit(failing).wait_for("FAILED")
    assert all(gate.arrived.wait(60) for gate in gates)

    # Then jobs go on meanwhile
    user.submit("add(1)").wait_for("COMPLETED")

    # When the processes that deliver are killed, and their successors lose their master
    for gate in gates:
        gate.arrived.clear()
    for process in deliverers(master["pid"]):
        process.kill()
    assert all(gate.arrived.wait(60) for gate in gates)
    os.kill(master["pid"], signal.SIGKILL)
    wait_gone(all_pids([master]))
    master = user.start()
    for gate in gates:
        gate.open()

    # And when a master is killed that has hardly seen further failures
    second = user.submit(failing).wait_for("FAILED")
    os.kill(master["pid"], signal.SIGKILL)
    wait_gone(all_pids([master]))
    user.start()

    # Then each failure is told once to each
    jobs = {*first.db_ids, *second.db_ids}

    def all_told() -> bool:
        return all(set(told(each.bodies)) == jobs for each in (webhook, mail)) and not waiting(user)

    wait_until(all_told, 60, f"messages about all jobs of {jobs}")
    listed = user.json("notify", "list")
    assert {delivery["state"] for delivery in listed["deliveries"]} == {"sent"}
    assert max(delivery["tries"] for delivery in listed["deliveries"]) > 1
    for server in (webhook, mail):
        assert set(told(server.bodies).values()) == {1}, server.bodies
        text = "\n".join(server.bodies)
        assert text.count("RuntimeError: disk full") == 2
        assert len(re.findall(r"^flow Flow \(", text, re.MULTILINE)) == 2
        assert f"jfr-mp -p {user.project.name} job list -s FAILED" in text
    assert any("jobs FAILED" in each["title"] for each in webhook.received)

    # And nothing that jfr-mp writes contains the secret
    wait_until(lambda: "was delivered to hook" in user.log("master"), 20, "a line in the log")
    logs = "".join(path.read_text() for path in user.project.base_dir.rglob("*.log"))
    assert SECRET not in logs + user.ok("notify", "list") + json.dumps(listed) + user.ok("status", "--json")


def test_targets_are_tried_and_checked(notified: User, webhook: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given targets that work, then their check and their test say so
    user = notified
    assert "json://***@127.0.0.1" in user.ok("project", "check")
    assert [each["sent"] for each in user.json("notify", "test", "all")] == [True, True]
    assert webhook.received[0]["title"] == f"[jfr-mp {user.project.name}] test"

    # When there are others: one that nobody knows, a file that is missing, and a server that does not answer
    targets = {
        "odd": {"url": f"nosuch://{SECRET}"},
        "lost": {"file": "/nonexistent/url"},
        "unset": {"env": "NO_SUCH_URL"},
        "down": {"url": f"json://me:{SECRET}@127.0.0.1:{free_port()}/{SECRET}"},
    }
    user.project.rewrite(metadata={"jfr_mp": {"notify": {"targets": targets}}})
    results = {each["target"]: each["error"] for each in user.json("notify", "test", code=ExitCode.CHECK_FAILED)}
    checks = {each["what"]: each for each in user.json("project", "check", code=ExitCode.CHECK_FAILED)}

    # Then each error says what is wrong, without the secret
    assert "nosuch://*** is not a URL of a service that apprise knows" in results["odd"]
    assert "/nonexistent/url cannot be read" in results["lost"]
    assert "the environment variable NO_SUCH_URL is not set" in results["unset"]
    assert results["down"].startswith("down (json://***@127.0.0.1:")
    verdicts = {name: checks[f"notify {name}"]["verdict"] for name in targets}
    assert verdicts == {"odd": "failed", "lost": "failed", "unset": "failed", "down": "ok"}
    assert "there is no notification rule x" in user.refused("notify", "test", "x", code=ExitCode.ERROR)
    assert SECRET not in json.dumps([results, checks]) + user.ok("notify", "list") + user.ok("notify", "list", "--json")
