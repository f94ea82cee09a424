"""A role process that does nothing but what a test asks of it: ``small_role.py DIRECTORY NAME RUN_DIR LIFELINE_FD``.

How it behaves is the first word in ``DIRECTORY/NAME``, read at each start.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from jfr_mp.bus.client import RoleBus
from jfr_mp.bus.lifeline import Lifeline
from jfr_mp.model import Condition, Transfer, utcnow
from jfr_mp.states import JobState
from jfr_mp.step_table import Role

directory, name, run_dir, lifeline_fd = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])
TRANSFER = Transfer(
    db_id="7", worker="cluster", direction="upload", since=utcnow(), done_bytes=20_000_000, total_bytes=50_000_000
)
#: What it reports, if that is the behaviour that the test asks for.
CONDITIONS = {"complains": Condition(last_error="a complaint"), "transfers": Condition(transfers=[TRANSFER])}

signal.signal(signal.SIGINT, signal.SIG_IGN)
mode = (directory / name).read_text().split()[0] if (directory / name).exists() else "work"


def note(word: str) -> None:
    (directory / f"{name}.{word}").write_text(str(os.getpid()))


if mode == "crash":
    sys.exit("no module named nothing")
if mode == "misconfigured":
    sys.stderr.write("the project file is wrong\n")
    sys.exit(3)
open_files = {fd.name: str(fd.readlink()) for fd in Path("/proc/self/fd").iterdir() if fd.is_symlink()}
(directory / f"{name}.fds").write_text(json.dumps(open_files))
bus = RoleBus.connect(run_dir, name, Role(name.partition("-")[0]), f"here:{os.getpid()}:aa", (JobState.UPLOADED,))
bus.on_log_level = lambda level: note(f"level-{level}")
signal.signal(signal.SIGTERM, lambda *_: bus.request_stop())
grace = 0.2 if mode == "stuck" else 60.0
with Lifeline(lifeline_fd, bus.request_stop, grace):
    if mode != "never-ready":
        bus.report(CONDITIONS.get(mode, Condition()))
    sys.stderr.write(f"{name} is here\n")
    sys.stderr.flush()
    while not bus.stop_requested:
        bus.wait(1)
    note("stopping")
    while mode == "stuck" or (mode == "in-a-step" and not (directory / f"{name}.finish").exists()):
        time.sleep(0.01)
    note("stopped")
bus.close()
