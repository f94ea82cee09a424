"""The network, the cluster and the machines of `scripts/machines.py`, all in namespaces of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.cluster import Cluster
from tests.support.machines import Machine
from tests.support.mongod import Mongod
from tests.support.processes import ROOT, Processes
from tests.support.projects import ProjectFactory, TestProject
from tests.support.waiting import wait_until

NETWORK = "10.77.19"
NAMES = ("front", "login1", "login2")
#: The jobs that the scheduler may have at a time, so that jobs are submitted from the beginning to the end.
MAX_JOBS = 6
#: Set in the process that has namespaces of its own.
_INSIDE = "JFR_MP_MACHINES_INSIDE"

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
#: ``sh -c HIDE EMPTY DIRECTORY... -- COMMAND``: hide directories, and run a command.
HIDE = 'while test "$1" != --; do mount --bind "$0" "$1" || exit 1; shift; done; shift; exec "$@"'


def enter_namespaces() -> None:
    """Run this script again in network and mount namespaces of its own, unless it is there already.

    Everything that it makes there is gone when its last process has ended. Nothing reaches this machine.
    """
    if os.environ.get(_INSIDE):
        Path("/run/netns").mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "netns", "/run/netns"], check=True)
        ip("link", "set", "lo", "up")
        # Slurm resolves names only if there is an address besides those of the loopback interface.
        ip("link", "add", "bridge", "type", "bridge")
        ip("addr", "add", f"{NETWORK}.1/24", "dev", "bridge")
        ip("link", "set", "bridge", "up")
        return
    os.environ[_INSIDE] = "1"
    own = ["unshare", "--net", "--mount", "--propagation", "private"]
    os.execvp(own[0], [*own, sys.executable, *sys.argv])


def ip(*words: str) -> None:
    """Run the command `ip`."""
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=20)


def cut_link(name: str) -> None:
    """Let no more packets through between a machine and the rest."""
    ip("link", "set", f"{name}-out", "down")


def mend_link(name: str) -> None:
    """Let packets through again."""
    ip("link", "set", f"{name}-out", "up")


def _connect(processes: Processes, ports: Sequence[int]) -> None:
    """Join the namespaces of all machines by the bridge, over which they reach some ports of the servers."""
    numbers = [str(port) for port in ports]
    processes.start([sys.executable, "-c", RELAY, f"{NETWORK}.1", "127.0.0.1", *numbers])
    for number, name in enumerate(NAMES, start=2):
        ip("netns", "add", name)
        ip("link", "add", f"{name}-out", "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("link", "set", f"{name}-out", "master", "bridge", "up")
        inside = ("netns", "exec", name, "ip")
        ip(*inside, "addr", "add", f"{NETWORK}.{number}/24", "dev", "eth0")
        ip(*inside, "link", "set", "eth0", "up")
        ip(*inside, "link", "set", "lo", "up")
        relay = [sys.executable, "-c", RELAY, "127.0.0.1", f"{NETWORK}.1", *numbers]
        processes.start(["ip", "netns", "exec", name, *relay])


@dataclass(frozen=True)
class Ground:
    """Servers and machines.

    Parameters
    ----------
    directory
        Where all files are.
    project
        The project, whose worker `remote` is the cluster.
    machines
        By name.
    """

    directory: Path
    project: TestProject
    machines: Mapping[str, Machine]

    def faults(self, name: str) -> Path:
        """Return the directory in which the faults of a machine are requested."""
        return self.directory / f"faults-{name}"

    def stop_at(self, name: str, point: str) -> psutil.Process:
        """Let the next process of a machine stop at a fault point; return this process."""
        ready = self.faults(name) / "new"
        ready.write_text("stop")
        ready.rename(self.faults(name) / point)
        (taken,) = wait_until(lambda: list(self.faults(name).glob(f"{point}.*")), 60, f"a process at {point}")
        master = self.machines[name].master
        assert master is not None
        pid = taken.suffix[1:]
        found = [each for each in psutil.Process(master.pid).children(recursive=True) if _inner_pid(each) == pid]
        wait_until(lambda: found[0].status() == psutil.STATUS_STOPPED, 10, "the process to stop")
        return found[0]


def _inner_pid(process: psutil.Process) -> str:
    """Return the pid of a process in its own namespace."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return next(line.split()[-1] for line in status.splitlines() if line.startswith("NSpid"))


@contextmanager
def ground(directory: Path, *, clones: bool, **options: Any) -> Iterator[Ground]:
    """Start the servers, connect the machines and yield them; everything ends with the context.

    Parameters
    ----------
    directory
        Where all files are.
    clones
        Whether all machines have the same host name.
    options
        What the project has below ``metadata.jfr_mp``.
    """
    with ExitStack() as stack:
        monkeypatch = stack.enter_context(pytest.MonkeyPatch.context())
        mongod = Mongod(directory / "mongod", replica_set="rs")
        mongod.start()
        stack.callback(mongod.close)
        cluster = Cluster(directory / "cluster")
        stack.callback(cluster.stop)
        cluster.start()
        factory = ProjectFactory(directory, monkeypatch, mongod)
        stack.callback(factory.remove)
        light = f"{sys.executable} -S -E {ROOT}/tests/support/light_command.py {{}}"
        worker = cluster.worker(directory / "remote", max_jobs=MAX_JOBS, execution_cmd=light, timeout_execute=60)
        project = factory(workers={"remote": worker}, metadata={"jfr_mp": options})
        for name in ("logs", "empty", "remote", *NAMES, *(f"faults-{name}" for name in NAMES)):
            (directory / name).mkdir(exist_ok=True)
        processes = Processes(directory / "logs")
        stack.callback(processes.end_all)
        _connect(processes, [mongod.port, cluster.sshd.port])
        machines = {name: _machine(name, directory, project, processes, clones=clones) for name in NAMES}
        stack.callback(_end, machines.values())
        yield Ground(directory, project, machines)


def _end(machines: Iterable[Machine]) -> None:
    """Kill all masters; a stop of each in its turn would take long."""
    for machine in machines:
        if machine.master is not None:
            machine.cut_off()


def _machine(name: str, directory: Path, project: TestProject, processes: Processes, *, clones: bool) -> Machine:
    """Return a machine that does not see the files of the other machines and of the cluster."""
    others = [directory / other for other in (*NAMES, "remote", "mongod", "cluster/slurm") if other != name]
    hide = ["sh", "-c", HIDE, str(directory / "empty"), *map(str, others), "--"]
    machine = Machine(
        "clone" if clones else name, directory / name, project, processes, ("ip", "netns", "exec", name, *hide)
    )
    machine.env = {**machine.env, "JFR_MP_FAULTS": str(directory / f"faults-{name}")}
    return machine
