#!/usr/bin/env python3
"""Three machines in network namespaces run 200 jobs while one of them is cut off; no job is lost or done twice.

    scripts/machines.py [--jobs 200] [--lease-ttl 6] [--power] [--clones]

Every machine has an address, pids, a host name and directories of its own. The first has the roles checkout and
complete, the other two have transfer and queue. MongoDB and the SSH server that runs the jobs are reached through
their links only. The machine that holds the lease of the queue is cut off in the middle, and its link comes back later.
With --power, its power fails instead, and it boots again: its master has the same pid as before. With --clones, all
machines have the same host name.
Printed are the longest time without a submission after the cut, which must not exceed lease_ttl + 2 s, and what has
become of the jobs. It needs root. Run it with a Python that has jfr-mp[test]; it takes about two minutes.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import pytest  # noqa: E402
from jobflow import Flow  # noqa: E402

from jfr_mp import submit_flow  # noqa: E402
from tests.support.jobs import ledger_lines  # noqa: E402
from tests.support.ledger_jobs import signs  # noqa: E402
from tests.support.machines import Machine, wait_for_roles  # noqa: E402
from tests.support.mongod import Mongod  # noqa: E402
from tests.support.processes import Processes  # noqa: E402
from tests.support.projects import ProjectFactory, TestProject  # noqa: E402
from tests.support.sshd import Sshd  # noqa: E402
from tests.support.waiting import wait_until  # noqa: E402

BRIDGE, NETWORK = "jfrmp0", "10.77.19"
NAMES = ("front", "login1", "login2")
#: Seconds after which waiting is given up.
PATIENCE = 300.0

#: Forwards ports of one address to the same ports of another: ``python -c RELAY FROM TO PORT...``.
RELAY = """
import asyncio, sys
begin, end, *ports = sys.argv[1:]
async def copy(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()
async def main():
    def to(port):
        async def serve(reader, writer):
            try:
                there, back = await asyncio.wait_for(asyncio.open_connection(end, port), 5)
            except (OSError, TimeoutError):
                return writer.close()
            await asyncio.gather(copy(reader, back), copy(there, writer))
        return serve
    servers = [await asyncio.start_server(to(port), begin, port) for port in ports]
    await asyncio.gather(*(server.serve_forever() for server in servers))
asyncio.run(main())
"""


def ip(*words: str) -> None:
    """Run the command `ip`."""
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=20)


@contextmanager
def network(processes: Processes, *ports: int) -> Iterator[None]:
    """Join the namespaces of all machines by a bridge, over which they reach some ports of this machine."""
    with ExitStack() as stack:
        ip("link", "add", BRIDGE, "type", "bridge")
        stack.callback(ip, "link", "del", BRIDGE)
        ip("addr", "add", f"{NETWORK}.1/24", "dev", BRIDGE)
        ip("link", "set", BRIDGE, "up")
        numbers = [str(port) for port in ports]
        processes.start([sys.executable, "-c", RELAY, f"{NETWORK}.1", "127.0.0.1", *numbers])
        for number, name in enumerate(NAMES, start=2):
            ip("netns", "add", name)
            stack.callback(ip, "netns", "del", name)
            ip("link", "add", f"{name}-out", "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("link", "set", f"{name}-out", "master", BRIDGE, "up")
            inside = ("netns", "exec", name, "ip")
            ip(*inside, "addr", "add", f"{NETWORK}.{number}/24", "dev", "eth0")
            ip(*inside, "link", "set", "eth0", "up")
            ip(*inside, "link", "set", "lo", "up")
            relay = [sys.executable, "-c", RELAY, "127.0.0.1", f"{NETWORK}.1", *numbers]
            processes.start(["ip", "netns", "exec", name, *relay])
        yield
        processes.end_all()


def submitted(project: TestProject) -> int:
    """Return how many jobs have reached the scheduler."""
    return project.db.jobs.count_documents({"remote.process_id": {"$ne": None}})


def completed(project: TestProject) -> int:
    """Return how many jobs are COMPLETED."""
    return project.db.jobs.count_documents({"state": "COMPLETED"})


def holder_of_queue(project: TestProject, directory: Path) -> str:
    """Return the name of the machine whose process holds the lease of the queue."""
    lease = project.db.jfr_mp_leases.find_one({"_id": {"$regex": "^queue: remote"}})
    assert lease is not None
    process = project.db.jfr_mp_processes.find_one({"_id": lease["owner"]})
    assert process is not None
    same = {"kind": "master", "machine": process["machine"]}
    return next(name for name in NAMES if project.db.jfr_mp_processes.find_one({**same, **master_of(directory, name)}))


def master_of(directory: Path, name: str) -> dict[str, Any]:
    """Return a query for the record of the master of a machine."""
    return {"kind": "master", "runtime": {"$regex": f"^{re.escape(str(directory / name))}/"}}


def longest_silence(project: TestProject, seconds: float) -> float:
    """Return the longest time without a submission in the next seconds."""
    count, since, longest = submitted(project), time.monotonic(), 0.0
    end = since + seconds
    while (now := time.monotonic()) < end:
        if (new := submitted(project)) != count:
            longest, count, since = max(longest, now - since), new, now
        time.sleep(0.05)
    return longest if count > 0 else float("inf")


def scenario(project: TestProject, processes: Processes, directory: Path, options: argparse.Namespace) -> list[str]:
    """Run the jobs with a cut; return what went wrong."""
    jobs, lease_ttl = options.jobs, options.lease_ttl
    machines = {
        name: Machine(
            "clone" if options.clones else name, directory / name, project, processes, ("ip", "netns", "exec", name)
        )
        for name in NAMES
    }
    machines["front"].start("--checkout", "--complete")
    for name in NAMES[1:]:
        machines[name].start("--transfer", "--queue")
    wait_for_roles(project, "checkout", "transfer", "queue", "complete")
    wait_until(lambda: project.db.jfr_mp_processes.count_documents({"kind": "master"}) == len(NAMES), 60, "masters")
    ledger = directory / "ledger"
    begun = time.monotonic()
    submit_flow(Flow([signs(str(ledger), f"job-{number}") for number in range(jobs)]), worker="remote")
    wait_until(lambda: completed(project) >= jobs // 5, PATIENCE, "a fifth of the jobs")

    victim = holder_of_queue(project, directory)
    before = project.db.jfr_mp_processes.find_one(master_of(directory, victim))
    assert before is not None
    if options.power:
        machines[victim].cut_off()
    else:
        ip("link", "set", f"{victim}-out", "down")
    print(f"{victim} is {'without power' if options.power else 'cut off'} after {completed(project)} jobs", flush=True)
    silence = longest_silence(project, lease_ttl + 8)
    print(f"longest time without a submission: {silence:.1f} s (lease_ttl {lease_ttl:g} s)", flush=True)
    evicted = project.db.jfr_mp_processes.find_one(master_of(directory, victim)) is None
    if options.power:
        machines[victim].start("--transfer", "--queue")
    else:
        ip("link", "set", f"{victim}-out", "up")
    back = master_of(directory, victim)
    wait_until(lambda: project.db.jfr_mp_processes.find_one(back), PATIENCE, f"{victim} to register again")
    after = project.db.jfr_mp_processes.find_one(back)
    assert after is not None
    print(f"{victim} is registered again, pid {before['pid']} -> {after['pid']}", flush=True)
    wait_until(lambda: project.db.jobs.count_documents({"state": {"$nin": ["COMPLETED"]}}) == 0, PATIENCE, "all jobs")
    print(f"{completed(project)} jobs completed in {time.monotonic() - begun:.0f} s", flush=True)

    done = Counter(ledger_lines(ledger))
    wrong = [f"{name} ran {count} times" for name, count in done.items() if count != 1]
    wrong += [f"{jobs - len(done)} jobs did not run"] if len(done) != jobs else []
    # What the machine wrote after it had lost its locks is not read, and is removed as garbage later.
    print(f"files of attempts that lost their locks: {project.db['jfr_mp_outputs.files'].count_documents({})}")
    wrong += [] if evicted else [f"{victim} was not evicted while it was cut off"]
    abandoned = machines[victim].output.count(" abandoned: ")
    print(f"steps that {victim} had in hand, and whose outcome was refused when it was back: {abandoned}")
    wrong += ["locks are left"] if project.db.jobs.count_documents({"lock_id": {"$ne": None}}) else []
    if silence > lease_ttl + 2:
        wrong.append(f"the first job moved {silence:.1f} s after the cut, and {lease_ttl + 2:g} s are allowed")
    return wrong


def main() -> int:
    """Run the scenario; return 1 if anything went wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--lease-ttl", type=float, default=6.0)
    parser.add_argument("--power", action="store_true", help="a power failure and a boot instead of a cut link")
    parser.add_argument("--clones", action="store_true", help="all machines have the same host name")
    options = parser.parse_args()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="jfr-machines-")))
        monkeypatch = stack.enter_context(pytest.MonkeyPatch.context())
        mongod = Mongod(directory / "mongod", replica_set="rs")
        mongod.start()
        stack.callback(mongod.close)
        sshd = Sshd(directory / "cluster")
        sshd.offer_jfr_mp(PYTHONPATH=str(ROOT))
        sshd.start()
        stack.callback(sshd.stop)
        factory = ProjectFactory(directory, monkeypatch, mongod)
        stack.callback(factory.remove)
        worker = sshd.worker(directory / "remote", timeout_execute=60)
        lease = {"lease_ttl": options.lease_ttl, "heartbeat_interval": 1.0}
        project = factory(workers={"remote": worker}, metadata={"jfr_mp": lease})
        (directory / "logs").mkdir()
        processes = Processes(directory / "logs")
        stack.callback(processes.end_all)
        stack.enter_context(network(processes, mongod.port, sshd.port))
        wrong = scenario(project, processes, directory, options)
    for each in wrong:
        print(f"WRONG: {each}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
