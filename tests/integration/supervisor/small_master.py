"""A master of `small_role` processes without a database: ``small_master.py DIRECTORY ROLES MODE [LIMITS]``.

MODE is foreground or daemon, and LIMITS are fields of its policy as JSON. Its run directory is ``DIRECTORY/run``; its
membership is noted in ``DIRECTORY/registry`` instead of a database.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from jfr_mp import logs
from jfr_mp.bus.messages import CommandReply
from jfr_mp.bus.paths import MasterFile, RunDir
from jfr_mp.config.options import JfrMpOptions
from jfr_mp.database.orders import MasterOrder
from jfr_mp.database.processes import Report
from jfr_mp.identity import ProcessIdentity
from jfr_mp.log_entries import LogOutput
from jfr_mp.membership.member import Member
from jfr_mp.model import utcnow
from jfr_mp.step_table import Role
from jfr_mp.supervisor.child import ChildArguments, ColdStart
from jfr_mp.supervisor.continuation import Continuation
from jfr_mp.supervisor.lifecycle import Policy
from jfr_mp.supervisor.master import Master
from jfr_mp.supervisor.plan import Plan
from jfr_mp.supervisor.service_manager import ServiceManager


class Notebook:
    def __init__(self, path: Path) -> None:
        self.path = path

    def note(self, *words: str) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(words) + "\n")

    def enter(self) -> None:
        self.note("entered")

    def beat(self, report: Report) -> bool:
        self.note("beat", report.state)
        return True

    def look_after_others(self) -> float:
        self.note("looked")
        return 0.0

    def evict(self, owner: str) -> None:
        self.note("evicted", owner)

    def take_orders(self) -> list[MasterOrder]:
        return []

    def answer(self, order: MasterOrder, reply: CommandReply) -> None:
        raise NotImplementedError

    def leave(self) -> None:
        self.note("left")


directory = Path(sys.argv[1])
roles = {Role(name): int(number) for name, number in json.loads(sys.argv[2]).items()}
small_role = Path(__file__).with_name("small_role.py")


class SmallRoles(ColdStart):
    def command_line(self, arguments: ChildArguments) -> list[str]:
        name, run_dir, lifeline = arguments.spec.name, str(arguments.run_dir), str(arguments.lifeline)
        return [sys.executable, str(small_role), str(directory), name, run_dir, lifeline]


logs.configure(10, "master")
run_dir = RunDir(directory / "run")
run_dir.create(
    MasterFile(
        **ProcessIdentity.of_this_process().model_dump(),
        owner="here:1:aa",
        roles=roles,
        project="main",
        started=utcnow(),
    )
)
member = Member(Notebook(directory / "registry"), JfrMpOptions(heartbeat_interval=0.1))
plan = Plan(
    begin=Continuation(roles=roles),
    processes=SmallRoles("main"),
    run_dir=run_dir,
    log_dir=directory / "logs",
    policy=Policy(
        **{"ready_within": 5, "startretries": 1, "backoff": 0.05, "drain": 2, "term": 0.5}
        | json.loads(sys.argv[4] if sys.argv[4:] else "{}")
    ),
    terminal=LogOutput(sys.stderr) if sys.argv[3] == "foreground" else None,
    unreachable_for=0.5,
    manager=ServiceManager.from_environment(),
    stops_on_hangup=sys.argv[3] == "foreground",
)
try:
    with member:
        code = Master(plan, member).run()
finally:
    run_dir.remove()
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})))
sys.exit(code)
