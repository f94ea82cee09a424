"""The crash matrix: every fault point of the table, and whatever can happen to a process there.

A new fault point is tested by being named in `jfr_mp.faultpoints.POINTS`.
"""

from __future__ import annotations

import pytest

from jfr_mp.faultpoints import POINTS
from tests.integration.crash.conftest import LEASE_TTL, Deploy, Deployment, resume
from tests.support.mongod import Mongod
from tests.support.waiting import wait_until

ACTIONS = ("kill", "stop", "error")
#: The tests of a group run one after the other in one deployment; the groups run at the same time.
GROUPS = [pytest.param(action, marks=pytest.mark.xdist_group(f"crash: {action}")) for action in ACTIONS]
REACHED = [point.name for point in POINTS.values() if not point.remote]
#: Where the end of a job is several writes, there is no transaction on a standalone server to undo them.
WITHIN_THE_END = [name for name in REACHED if name.startswith("complete.after_")]


@pytest.fixture(scope="module")
def replica(deploy: Deploy, mongod_replica: Mongod) -> Deployment:
    """Two machines with a database that has transactions."""
    return _two_machines(deploy(mongod_replica))


@pytest.fixture(scope="module")
def standalone(deploy: Deploy, mongod_standalone: Mongod) -> Deployment:
    """Two machines with a database that has none."""
    return _two_machines(deploy(mongod_standalone))


def _two_machines(deployment: Deployment) -> Deployment:
    deployment.start("login-1", "login-2")
    return deployment


@pytest.mark.parametrize("point", REACHED)
@pytest.mark.parametrize("action", GROUPS)
def test_with_transactions(replica: Deployment, point: str, action: str) -> None:
    _strike(replica, point, action)


@pytest.mark.xdist_group("crash: without transactions")
@pytest.mark.parametrize("point", WITHIN_THE_END)
@pytest.mark.parametrize("action", ACTIONS)
def test_without_transactions(standalone: Deployment, point: str, action: str) -> None:
    _strike(standalone, point, action)


def _strike(deployment: Deployment, point: str, action: str) -> None:
    # Given a flow with a replacement, a detour and children, and a process that will be struck
    deployment.arm(point, action)
    ledger = deployment.submit()
    pid = deployment.wait_struck(point)

    # When it stops, then its lease runs out; it goes on when others have taken over
    if action == "stop":
        wait_until(lambda: pid not in deployment.registered(), LEASE_TTL + 5, "the end of its lease")
        resume(pid)

    # Then every job ran once and nothing is left behind
    deployment.assert_all_is_well(ledger)
