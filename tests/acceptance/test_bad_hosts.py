"""Hosts that cannot be worked with: what a user reads about them and about their jobs, and that the others go on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jfr_mp.errors import ExitCode
from tests.acceptance.conftest import NewUser
from tests.support.sshd import Sshd, make_key, silent_server
from tests.support.user import Doc, User
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def silent_port() -> Iterator[int]:
    with silent_server() as port:
        yield port


def reason(user: User, db_id: str, word: str) -> tuple[str, str]:
    """Return the reason of a job that has a word, and its cure; processes hand their news in with a heartbeat."""

    def found() -> Doc | None:
        reasons: list[Doc] = user.json("job", "explain", db_id)["reasons"]
        return next((reason for reason in reasons if word in reason["why"]), None)

    its = wait_until(found, 30, f"a reason with {word!r}")
    return its["why"], its["cure"]


def test_hosts_that_cannot_be_worked_with(new_user: NewUser, cluster: Sshd, silent_port: int, tmp_path: Path) -> None:
    # Given a worker that is fine, one with a wrong key, one that hangs, and one that has no worker command
    key = make_key(tmp_path / "strange")
    good = cluster.worker(tmp_path / "it's far é")
    workers = {
        "good": good,
        "strange": {**good, "key_filename": str(key)},
        "silent": {**good, "port": silent_port, "connect_timeout": 2},
        "bare": {**good, "login_shell": False},
    }
    user = new_user(workers=workers)
    says = {
        "strange": f"login refused; tried key {key}",
        "silent": "accepts the connection and then says nothing for 2 s",
    }

    # When the project is checked, then each of them is told with its cause and cure
    found = {check["what"]: check for check in user.json("project", "check", code=ExitCode.CHECK_FAILED)}
    failed = {what: check for what, check in found.items() if check["verdict"] == "failed"}
    assert set(failed) == {"worker strange: connection", "worker silent: connection", "worker bare: command"}
    for name, words in says.items():
        assert words in failed[f"worker {name}: connection"]["detail"]
    assert "jfr-mp: command not found" in failed["worker bare: command"]["detail"]
    assert "install jfr-mp" in failed["worker bare: command"]["cure"]

    # When each of them gets a job
    user.start()
    flows = {name: user.submit("add(1)", "--worker", name) for name in workers}

    # Then that of the good one runs, and that of the bare one says what is missing there
    assert flows["good"].wait_for("COMPLETED", timeout=120).outputs == [2]
    flows["bare"].wait_for_job("FAILED")
    (bare,) = flows["bare"].db_ids
    why, cure = reason(user, bare, "it ran and failed")
    assert "jfr-mp: command not found" in why
    assert f"jfr-mp job queue-out {bare}" in cure

    # And the others wait for their hosts, and have spent no attempt
    wait_until(lambda: len(user.json("status")["hosts_away"]) == len(says), 60, "the hosts that are away")
    status = user.types("status").stderr
    for name, words in says.items():
        assert any(
            f"the host of {name} has been unreachable since" in line and words in line for line in one_line_each(status)
        ), status
        job = flows[name].wait_for_job("CHECKED_OUT")
        assert (job["remote"]["step_attempts"], job["remote"]["error"].count("\n")) == (0, 0)
        why, cure = reason(user, job["db_id"], "unreachable since")
        assert words in why
        assert "jfr-mp project check" in cure
        assert "costs the job no attempt" in cure

    # When the key is accepted, then its job goes on by itself, and nobody calls the host away any more
    cluster.authorize(cluster.key, key)
    assert flows["strange"].wait_for("COMPLETED", timeout=120).outputs == [2]
    assert [outage["host"] for outage in user.json("status")["hosts_away"]] == ["silent"]


def one_line_each(text: str) -> list[str]:
    """Return the warnings of a command, each as one line."""
    return [" ".join(part.split()) for part in text.split("Warning: ")]
