"""How the quickstart ends on a signal."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

IN_A_CALLBACK = """
import os, signal, time, weakref
from jfr_mp.examples.quickstart import leave_on_signals

class Thing: pass

leave_on_signals()
thing = Thing()
reference = weakref.ref(thing, lambda _: (os.kill(os.getpid(), signal.{name}), sum(range(1000))))
del thing
time.sleep(20)
print("it went on")
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_within_a_callback_that_ignores_errors_ends_it(name: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IN_A_CALLBACK.format(name=name)], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (128 + signal.Signals[name], "", "")
