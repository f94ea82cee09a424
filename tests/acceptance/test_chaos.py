"""A short run of `scripts/chaos`, whose long runs are for people."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tests.support.processes import ROOT

#: With this one, sshd, mongod, squeue and a role process come first.
SEED = 219
#: Seconds; an idle machine takes one minute.
PATIENCE = 300


@pytest.mark.timeout(PATIENCE + 120)
def test_every_job_runs_once_whatever_is_killed() -> None:
    # Given dynamic flows here and on a cluster, and everything killed, stopped or broken by and by
    command = [sys.executable, str(ROOT / "scripts" / "chaos"), f"--seed={SEED}", "--minutes=0.6", "--flows=6"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("JFREMOTE_")}
    with subprocess.Popen(command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as chaos:
        try:
            said, _ = chaos.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            # It ends its servers.
            chaos.send_signal(signal.SIGINT)
            said, _ = chaos.communicate()

    # Then each job ran once and ended as its flow wants, and no lock is left
    print(said)
    assert chaos.returncode == 0, said
