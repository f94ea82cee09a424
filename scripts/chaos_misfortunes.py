"""What can happen to those who run jobs: the misfortunes of `scripts/chaos`."""

from __future__ import annotations

import random
import signal
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psutil
from chaos_flows import SMALL
from chaos_ground import LEASE_TTL, Ground

from jfr_mp.step_table import DOWNLOAD, STEPS, SUBMIT, UPLOAD, Role, Step, steps_of
from tests.support.cluster import Cluster, Scheduler
from tests.support.history import History
from tests.support.mongod import Mongod, ReplicaSet
from tests.support.waiting import wait_until

#: Seconds between two misfortunes, that one lasts, and that what does not answer keeps silent: past the time limits of
#: hosts and of the database.
PEACE, MISFORTUNE, SILENCE = (2.0, 6.0), (1.0, 8.0), (2.0, 25.0)
#: Seconds after which waiting for a job that moves, and for the end of all, is given up.
PATIENCE, PATIENCE_AT_THE_END = 180.0, 600.0
ROLE, MASTER = "role", "master"
#: The steps for which a host has to be there.
WITH_HOST = (UPLOAD, SUBMIT, DOWNLOAD)


@dataclass(frozen=True)
class Over:
    """When a misfortune was over, in monotonic seconds, and what shows that it was recovered from.

    That is the next job of these workers that makes one of these steps, not done by one of those processes.
    """

    time: float
    steps: Collection[Step] = STEPS
    workers: Collection[str] = ("local", "cluster")
    not_by: Collection[str] = ()


class Misfortunes:
    """What can happen; each is undone by itself.

    Parameters
    ----------
    made
        What it happens to.
    history
        The changes of the queue.
    chance
        Chooses what happens and for how long.
    top_up
        Gives everybody something to do.
    """

    def __init__(self, made: Ground, history: History, chance: random.Random, top_up: Callable[[], None]) -> None:
        self._made = made
        self._history = history
        self._chance = chance
        self._top_up = top_up
        self._kinds = [self.kill_role, self.kill_role, self.kill_master, self.stop_process, self.kill_mongod]
        if made.cluster:
            self._kinds += [self.break_connections, self.kill_sshd, self.kill_slurmctld, self.squeue_lies]
        if made.more:
            self._kinds += [self.step_down, self.partition, self.freeze_mongod, self.stop_master, self.exhaust_files]
            self._kinds += [self.fill_own_disk, self.fill_work_disk]
            self._kinds += [self.freeze_sftp] if made.cluster else []
            self._kinds += [self.freeze_files] if made.late else []
            self._kinds += [self.jump] if made.clock else []
        self._next: list[Callable[[], Over]] = []
        #: Seconds to the recovery from each.
        self._recoveries: defaultdict[str, list[float]] = defaultdict(list)

    def strike(self) -> None:
        """Let something happen, each kind as often as the others, and note how long it took to recover from it."""
        if not self._next:
            self._next = self._chance.sample(self._kinds, len(self._kinds))
        kind = self._next.pop()
        name = kind.__name__
        print(f"  {time.strftime('%X')} {name}", flush=True)
        over = kind()
        try:
            moved = wait_until(lambda: self._recovered(over), PATIENCE, f"a job that moves after {name}")
        except AssertionError as error:
            print(f"  {error}", flush=True)
            self._recoveries[name].append(PATIENCE)
        else:
            self._recoveries[name].append(moved.time - over.time)

    def rest(self, seconds: tuple[float, float]) -> None:
        """Let some time pass."""
        time.sleep(self._chance.uniform(*seconds))

    def report(self) -> None:
        """Print how often what happened, and how long the recovery took."""
        count = sum(map(len, self._recoveries.values()))
        print(f"{count} misfortunes; recovered from, until the next job moved on by such a step:")
        for name, seconds in sorted(self._recoveries.items()):
            middle, longest = median(seconds), max(seconds)
            print(f"  {name:<18}{len(seconds):4} times  median {middle:5.1f} s  longest {longest:5.1f} s")

    def kill_role(self) -> Over:
        """A role process dies."""
        begun, until_now = time.monotonic(), self._owners()
        if not (process := self._one(ROLE)):
            return Over(begun)
        record = self._made.db.jfr_mp_processes.find_one({"pid": process.pid}) or {"roles": []}
        process.kill()
        return Over(begun, [step for role in record["roles"] for step in steps_of(Role(role))], not_by=until_now)

    def kill_master(self) -> Over:
        """The master dies, and the user starts another one."""
        begun, until_now = time.monotonic(), self._owners()
        if process := self._one(MASTER):
            process.kill()
        self._made.start()
        return Over(begun, not_by=until_now)

    def stop_process(self) -> Over:
        """A process stands still until others have taken it for dead."""
        return self._stand_still(LEASE_TTL + 2, ROLE, MASTER)

    def stop_master(self) -> Over:
        """The master stands still for longer than its lease."""
        return self._stand_still(2 * LEASE_TTL, MASTER)

    def kill_mongod(self) -> Over:
        """The database crashes."""
        mongod = self._made.mongod
        mongod.kill()
        if isinstance(mongod, Mongod):
            self.rest(MISFORTUNE)
            mongod.start()
        return Over(time.monotonic())

    def step_down(self) -> Over:
        """Another member of the replica set takes over."""
        self._replica_set.step_down()
        return Over(time.monotonic())

    def partition(self) -> Over:
        """The primary loses the other members, and its clients reach it all the same."""
        with self._replica_set.partition():
            self.rest(SILENCE)
        return Over(time.monotonic())

    def freeze_mongod(self) -> Over:
        """The primary keeps its connections, and answers nothing."""
        with self._replica_set.frozen():
            self.rest(SILENCE)
        return Over(time.monotonic())

    def fill_own_disk(self) -> Over:
        """The disk with logs, sockets and temporary files is full."""
        return self._fill(self._made.disks["own"])

    def fill_work_disk(self) -> Over:
        """The disk with the directories of jobs is full."""
        return self._fill(self._made.disks[SMALL])

    def exhaust_files(self) -> Over:
        """A role process can open no file more."""
        if process := self._one(ROLE):
            with suppress(psutil.NoSuchProcess):
                limits = process.rlimit(psutil.RLIMIT_NOFILE)
                process.rlimit(psutil.RLIMIT_NOFILE, (process.num_fds(), limits[1]))
                self.rest(MISFORTUNE)
                process.rlimit(psutil.RLIMIT_NOFILE, limits)
        return Over(time.monotonic())

    def jump(self) -> Over:
        """The clock of the machine jumps by an hour, and back."""
        self._set_clock(self._chance.choice(["+3600", "-3600"]))
        self.rest(MISFORTUNE)
        self._set_clock("+0")
        return Over(time.monotonic())

    def break_connections(self) -> Over:
        """The network drops all connections to the login node."""
        self._cluster.sshd.break_connections()
        return self._over_at_cluster(*WITH_HOST)

    def kill_sshd(self) -> Over:
        """The login node is away."""
        self._cluster.sshd.kill()
        self.rest(MISFORTUNE)
        self._cluster.sshd.start()
        return self._over_at_cluster(*WITH_HOST)

    def freeze_sftp(self) -> Over:
        """The file system of the cluster answers late."""
        with self._cluster.sshd.late_files():
            self.rest(SILENCE)
        return self._over_at_cluster(*WITH_HOST)

    def freeze_files(self) -> Over:
        """The file system of a worker on this machine answers late."""
        assert self._made.late
        with self._made.late.frozen():
            self.rest(SILENCE)
        return Over(time.monotonic())

    def kill_slurmctld(self) -> Over:
        """The scheduler crashes."""
        with self._cluster.crash_of_the_controller():
            self.rest(MISFORTUNE)
        return self._over_at_cluster(SUBMIT)

    def squeue_lies(self) -> Over:
        """The scheduler is up, and squeue fails, or says nothing, or half of it."""
        lies = [Scheduler.SQUEUE_FAILS, Scheduler.SQUEUE_SAYS_NOTHING, Scheduler.SQUEUE_SAYS_HALF]
        self._cluster.answers(self._chance.choice(lies))
        self.rest(MISFORTUNE)
        self._cluster.answers(Scheduler.WELL)
        return self._over_at_cluster(*WITH_HOST)

    def _fill(self, disk: Path) -> Over:
        with _full(disk):
            self.rest(MISFORTUNE)
        return Over(time.monotonic())

    def _stand_still(self, seconds: float, *modules: str) -> Over:
        if process := self._one(*modules):
            process.send_signal(signal.SIGSTOP)
            time.sleep(seconds)
            process.send_signal(signal.SIGCONT)
        return Over(time.monotonic())

    def _set_clock(self, offset: str) -> None:
        new = self._made.home / "time.new"
        new.write_text(offset)
        new.rename(self._made.home / "time")

    @property
    def _cluster(self) -> Cluster:
        assert self._made.cluster
        return self._made.cluster

    @property
    def _replica_set(self) -> ReplicaSet:
        assert isinstance(self._made.mongod, ReplicaSet)
        return self._made.mongod

    def _over_at_cluster(self, *steps: Step) -> Over:
        return Over(time.monotonic(), steps, ("cluster",))

    def _one(self, *modules: str) -> psutil.Process | None:
        found = self._made.processes(*modules)
        return self._chance.choice(found) if found else None

    def _owners(self) -> list[str]:
        return [record["_id"] for record in self._made.db.jfr_mp_processes.find({}, {"_id": 1})]

    def _recovered(self, over: Over) -> Any:
        self._top_up()
        states = {state.value for step in over.steps for state in step.targets}
        return self._history.moved(over.time, states, over.workers, over.not_by)


@contextmanager
def _full(disk: Path) -> Iterator[None]:
    """Fill a disk to the last block."""
    filling = disk / "filling"
    with suppress(OSError), filling.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(2**16))
    try:
        yield
    finally:
        filling.unlink()
