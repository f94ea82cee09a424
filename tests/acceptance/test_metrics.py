"""A master that serves metrics, and the board that shows them."""

from __future__ import annotations

import json
import re
import urllib.request

import pytest

from tests.support.processes import ROOT, free_port
from tests.support.user import User
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(300)


def test_a_master_serves_metrics_that_the_board_can_show(user: User) -> None:
    # Given a master with metrics
    address = f"127.0.0.1:{free_port()}"
    user.start("--metrics", address)

    def metrics() -> str:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
            text: str = answer.read().decode()
            return text

    # When jobs have run
    user.submit("chain(3)").wait_for("COMPLETED")

    # Then their steps and states are in the metrics, with those of the processes and of the database
    done = 'jfr_mp_steps_total{outcome="done",step="complete",worker="local"} 3.0'
    wait_until(lambda: done in metrics(), 10, done)
    found = metrics()
    assert 'jfr_mp_state_seconds_count{state="READY",worker="local"} 3.0' in found
    assert 'jfr_mp_role_processes_up{role="queue"} 1.0' in found
    wait_until(lambda: 'jfr_mp_jobs{state="COMPLETED",worker="local"} 3.0' in metrics(), 10, "a new count")

    # And the board asks for nothing else
    board = json.loads((ROOT / "docs" / "metrics" / "grafana.json").read_text())
    expressions = " ".join(target["expr"] for panel in board["panels"] for target in panel["targets"])
    asked = set(re.findall(r"\bjfr_mp_\w+", expressions))
    served = set(re.findall(r"^(jfr_mp_\w+)", found, re.MULTILINE))
    assert asked <= served
    # and the board shows all but the parts of histograms
    assert {name for name in served if not re.search("_(bucket|sum|count|created)$", name)} <= asked
