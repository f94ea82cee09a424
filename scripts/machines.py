#!/usr/bin/env python3
"""Three machines in namespaces run 200 jobs on Slurm while one of them is cut off; no job is lost or done twice.

    scripts/machines.py [--jobs 200] [--lease-ttl 6] [--power] [--clones]

Every machine has an address, pids, a host name, a home and directories of its own, and does not see the files of the
others. The first has the roles checkout and complete, the other two have transfer and queue. MongoDB and the login node
of the cluster are reached through their links only. The machine that holds the lease of the queue is cut off in the
middle, while it has submitted one job and downloaded another one without having written so, and its link comes back
later. With --power, its power fails instead, and it boots again: its master has the same pid as before. With --clones,
all machines have the same host name.
Printed is how long it took until the machine was forgotten and until the first job moved again, which must not be later
than lease_ttl + 2 s after the cut, and what has become of the jobs. It needs root, Slurm and sshd. Run it with a Python
that has jfr-mp[test]; it takes about two minutes.
"""

from __future__ import annotations

import argparse
import re
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from jobflow import Flow  # noqa: E402
from machines_ground import NAMES, Ground, cut_link, enter_namespaces, ground, mend_link  # noqa: E402
from machines_timeline import Timeline  # noqa: E402

from jfr_mp import submit_flow  # noqa: E402
from tests.support.jobs import ledger_lines, writes_ledger  # noqa: E402
from tests.support.waiting import wait_until  # noqa: E402

#: Seconds after which waiting is given up, and seconds that a job takes.
PATIENCE, JOB_TAKES = 300.0, 0.5
#: The role processes of all machines.
ROLE_PROCESSES = 6
#: The states that only the holder of the lease of the queue brings jobs into.
BY_QUEUE = ("SUBMITTED", "RUNNING", "RUN_FINISHED")
#: Where the machine is interrupted, in this order: the second one holds up the jobs that the first one needs.
POINTS = ("download.before_commit", "submit.before_commit")


def completed(ground: Ground) -> int:
    """Return how many jobs are COMPLETED."""
    return ground.project.db.jobs.count_documents({"state": "COMPLETED"})


def start(ground: Ground, name: str, *roles: str) -> str:
    """Start a machine, and return the id that it has in the registry."""
    masters = ground.project.db.jfr_mp_processes
    known = masters.distinct("machine")
    ground.machines[name].start(*roles)
    other = {"kind": "master", "machine": {"$nin": known}}
    found = wait_until(lambda: masters.find_one(other), PATIENCE, f"the master of {name}")
    return str(found["machine"])


@dataclass
class Victim:
    """The machine that is cut off, as it is at that moment.

    Parameters
    ----------
    name
        Its name.
    pid
        The pid of its master.
    machine
        The id that it has in the registry.
    lease
        The name of the lease of the queue.
    holder
        Its process that holds this lease.
    cut
        When it was cut off.
    jobs
        The jobs in its hands.
    """

    name: str
    pid: int
    machine: str
    lease: str
    holder: str
    cut: datetime = field(default_factory=lambda: datetime.now(UTC).replace(tzinfo=None))
    jobs: list[Any] = field(default_factory=list)


def find_victim(ground: Ground, ids: Mapping[str, str]) -> Victim:
    """Return the machine whose process holds the lease of the queue; `ids` are those of all machines by their names."""
    registry = ground.project.db.jfr_mp_processes
    lease = ground.project.db.jfr_mp_leases.find_one({"_id": {"$regex": "^queue: remote"}})
    assert lease is not None
    holder = registry.find_one({"_id": lease["owner"]})
    assert holder is not None
    master = registry.find_one({"machine": holder["machine"], "kind": "master"})
    assert master is not None
    (name,) = [name for name, machine in ids.items() if machine == holder["machine"]]
    return Victim(name, master["pid"], holder["machine"], lease["_id"], lease["owner"])


def strike(ground: Ground, victim: Victim, *, power: bool) -> None:
    """Cut a machine off, or its power, while it has jobs in hand."""
    db = ground.project.db
    stopped = [ground.stop_at(victim.name, point) for point in POINTS]
    owners = [re.escape(each["_id"]) for each in db.jfr_mp_processes.find({"machine": victim.machine})]
    victim.jobs = [job["_id"] for job in db.jobs.find({"lock_id": {"$regex": "|".join(owners)}})]
    victim.cut = datetime.now(UTC).replace(tzinfo=None)
    if power:
        ground.machines[victim.name].cut_off()
    else:
        cut_link(victim.name)
        for process in stopped:
            process.resume()


def report_takeover(victim: Victim, timeline: Timeline, lease_ttl: float) -> list[str]:
    """Print how the other machines took over; return what went wrong."""

    def after_cut(moment: datetime | None) -> float:
        return float("inf") if moment is None else (moment - victim.cut).total_seconds()

    forgotten = timeline.forgotten(victim.holder)
    if forgotten is None:
        return [f"{victim.name} was not evicted while it was cut off"]
    first = after_cut(next(timeline.moves(forgotten, *BY_QUEUE), None))
    print(f"forgotten after {after_cut(forgotten):.2f} s (lease_ttl {lease_ttl:g} s)")
    print(f"the lease of the queue was taken over after {after_cut(timeline.taken(victim.lease, victim.holder)):.2f} s")
    print(f"the first job moved after {first:.2f} s, {first - after_cut(forgotten):.2f} s after that")
    until = victim.cut + timedelta(seconds=lease_ttl + 8)
    pause = timeline.longest_pause(victim.cut, until, "SUBMITTED")
    print(f"longest time without a submission: {pause:.2f} s")
    held = sorted(after_cut(next(timeline.moves(victim.cut, job=job), None)) for job in victim.jobs)
    print(f"the {len(held)} jobs in its hands moved after {', '.join(f'{seconds:.2f}' for seconds in held)} s")
    wrong = [f"it had {len(held)} jobs in hand, and two were expected"] if len(held) < len(POINTS) else []
    late = [seconds for seconds in (first, pause, *held[:1]) if seconds > lease_ttl + 2]
    return wrong + [f"a job moved {seconds:.1f} s after the cut, {lease_ttl + 2:g} s are allowed" for seconds in late]


def scenario(ground: Ground, options: argparse.Namespace) -> list[str]:
    """Run the jobs with a cut; return what went wrong."""
    db, jobs = ground.project.db, options.jobs
    ids = {"front": start(ground, "front", "--checkout", "--complete")}
    ids |= {name: start(ground, name, "--transfer", "--queue") for name in NAMES[1:]}
    wait_until(lambda: db.jfr_mp_processes.count_documents({"kind": "role"}) == ROLE_PROCESSES, PATIENCE, "all roles")
    ledger = ground.directory / "ledger"
    begun = time.monotonic()
    flow = Flow([writes_ledger(str(ledger), f"job-{number}", JOB_TAKES) for number in range(jobs)])
    submit_flow(flow, worker="remote")
    wait_until(lambda: completed(ground) >= jobs // 5, PATIENCE, "a fifth of the jobs")

    timeline = Timeline(ground.project)
    victim = find_victim(ground, ids)
    strike(ground, victim, power=options.power)
    print(
        f"{victim.name} is {'without power' if options.power else 'cut off'} after {completed(ground)} jobs", flush=True
    )
    time.sleep(options.lease_ttl + 8)
    timeline.read()
    wrong = report_takeover(victim, timeline, options.lease_ttl)

    mended = time.monotonic()
    others = [machine for machine in ids.values() if machine != victim.machine]
    back = {"kind": "master", "machine": {"$nin": others}}
    if options.power:
        ground.machines[victim.name].start("--transfer", "--queue")
    else:
        mend_link(victim.name)
    wait_until(lambda: db.jfr_mp_processes.find_one(back), PATIENCE, f"{victim.name} to register again")
    after = db.jfr_mp_processes.find_one(back)
    assert after is not None
    took = time.monotonic() - mended
    print(f"{victim.name} is registered again after {took:.1f} s, pid {victim.pid} -> {after['pid']}", flush=True)
    wait_until(lambda: completed(ground) == jobs, PATIENCE, "all jobs")
    print(f"{completed(ground)} jobs completed in {time.monotonic() - begun:.0f} s", flush=True)
    return wrong + report_end(ground, victim, ledger, options)


def report_end(ground: Ground, victim: Victim, ledger: Path, options: argparse.Namespace) -> list[str]:
    """Print what was left; return what went wrong."""
    db = ground.project.db
    done = Counter(ledger_lines(ledger))
    wrong = [f"{name} ran {count} times" for name, count in done.items() if count != 1]
    wrong += [f"{options.jobs - len(done)} jobs did not run"] if len(done) != options.jobs else []
    wrong += ["locks are left"] if db.jobs.count_documents({"lock_id": {"$ne": None}}) else []
    print(f"jobs that ran: {len(done)}, more than once: {sum(count > 1 for count in done.values())}")
    # What the machine put there after it had lost its locks is not read, and is removed as garbage later.
    print(f"files of attempts that lost their locks: {db['jfr_mp_outputs.files'].count_documents({})}")
    if not options.power:
        output = ground.machines[victim.name].output
        refused = len(re.findall(r" abandoned: ", output))
        print(f"steps that {victim.name} had in hand, and whose late writes were refused: {refused}")
        if refused < len(POINTS):
            wrong.append(
                f"{refused} late writes were refused, and {len(POINTS)} were to be; the machine said:\n{output}"
            )
    return wrong


def main() -> int:
    """Run the scenario; return 1 if anything went wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--lease-ttl", type=float, default=6.0)
    parser.add_argument("--power", action="store_true", help="a power failure and a boot instead of a cut link")
    parser.add_argument("--clones", action="store_true", help="all machines have the same host name")
    options = parser.parse_args()
    # So that the servers end, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("told to end"))
    enter_namespaces()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="jfr-machines-")))
        lease = {"lease_ttl": options.lease_ttl, "heartbeat_interval": 1.0}
        wrong = scenario(stack.enter_context(ground(directory, clones=options.clones, **lease)), options)
    for each in wrong:
        print(f"WRONG: {each}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
