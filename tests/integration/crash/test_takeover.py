"""All processes of a machine die at once, and another machine goes on with what they had in hand."""

from __future__ import annotations

import os
import signal
import time

import pytest

from tests.integration.crash.conftest import LEASE_TTL, Deploy
from tests.support.mongod import Mongod
from tests.support.processes import wait_gone
from tests.support.waiting import wait_until


@pytest.mark.timing
def test_another_machine_takes_over(deploy: Deploy, mongod_replica: Mongod, capsys: pytest.CaptureFixture[str]) -> None:
    # Given two machines, one of which is in the middle of a completion
    deployment = deploy(mongod_replica)
    db = deployment.project.db
    deployment.start("login-1", "login-2")
    deployment.arm("complete.after_copy", "stop")
    ledger = deployment.submit()
    doomed = deployment.registered()[deployment.wait_struck("complete.after_copy")]["host"]

    # When all of its processes are killed
    dead = {pid for pid, record in deployment.registered().items() if record["host"] == doomed}
    for pid in dead:
        os.kill(pid, signal.SIGKILL)
    killed = time.monotonic()
    wait_gone(dead)

    # Then the other machine frees what they held, and ends what they began
    def taken_over() -> bool:
        holders = {lease["owner"].partition(":")[0] for lease in db.jfr_mp_leases.find()}
        return dead.isdisjoint(deployment.registered()) and doomed not in holders and len(holders) == 1

    wait_until(taken_over, 30, "the end of what the dead held")
    took = time.monotonic() - killed
    with capsys.disabled():
        print(f"\na machine died: another took over within {took:.1f} s, with leases of {LEASE_TTL:g} s", end=" ")
    deployment.assert_all_is_well(ledger)
