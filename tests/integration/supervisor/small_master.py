"""A master of `small_role` processes without a database: ``small_master.py DIRECTORY ROLES foreground|daemon``.

Its directory of sockets is ``DIRECTORY/run``; what it would write to the registry goes to ``DIRECTORY/registry``.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import psutil

from jfr_mp import logs
from jfr_mp.bus.messages import MasterStatus
from jfr_mp.bus.paths import MasterFile, RunDir
from jfr_mp.model import utcnow
from jfr_mp.step_table import Role
from jfr_mp.supervisor.child import SpawnOrder
from jfr_mp.supervisor.lifecycle import Policy
from jfr_mp.supervisor.master import Master, Plan
from jfr_mp.supervisor.registrar import Registrar


class Notebook:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.beats = 0

    def note(self, *words: str) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(words) + "\n")

    def role_gone(self, owner: str) -> None:
        self.note("gone", owner)

    def heartbeat(self, status: MasterStatus) -> None:
        self.note("heartbeat", status.state)

    def leave(self) -> None:
        self.note("left")


directory = Path(sys.argv[1])
roles = {Role(name): int(number) for name, number in json.loads(sys.argv[2]).items()}
small_role = Path(__file__).with_name("small_role.py")


def command(order: SpawnOrder) -> list[str]:
    return [sys.executable, str(small_role), str(directory), order.spec.name, str(order.run_dir), str(order.lifeline)]


logs.configure(10, "master")
run_dir = RunDir(directory / "run")
run_dir.create(
    MasterFile(
        pid=os.getpid(),
        create_time=psutil.Process().create_time(),
        owner="here:1:aa",
        roles=roles,
        project="main",
        started=utcnow(),
    )
)
registrar = Registrar(Notebook(directory / "registry"), 0.1)
plan = Plan(
    roles=roles,
    command=command,
    run_dir=run_dir,
    log_dir=directory / "logs",
    policy=Policy(ready_within=5, startretries=1, backoff=0.05, drain=2, term=0.5),
    terminal=sys.stderr if sys.argv[3] == "foreground" else None,
)
try:
    code = Master(plan, registrar).run()
finally:
    registrar.close(5)
    run_dir.remove()
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
sys.exit(code)
