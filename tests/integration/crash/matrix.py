"""The crash matrix: every fault point of the table, and whatever can happen to a process there.

A new fault point is tested by being named in `jfr_mp.faultpoints.POINTS`. Each column of the matrix is a test module,
which has a deployment of its own and stays on one worker.
"""

from __future__ import annotations

from jfr_mp.faultpoints import POINTS
from tests.integration.crash.conftest import LEASE_TTL, Deployment, resume
from tests.support.waiting import wait_until

ACTIONS = ("kill", "stop", "error")
REACHED = [point.name for point in POINTS.values() if not point.remote]
#: Where the end of a job is several writes, there is no transaction on a standalone server to undo them.
WITHIN_THE_END = [name for name in REACHED if name.startswith("complete.after_")]


def strike(deployment: Deployment, point: str, action: str) -> None:
    """Run a flow while a process is struck at a point, and find that all ends well."""
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
