"""The rows of `scripts/bench.py`: what each measures, and what it has to reach."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import psutil
from bench_attack import attack
from bench_ground import DELAY, JOBS, Ground, Measured, Row, numbers, processes_of, seconds_for
from bench_load import many, submit
from bench_remote import remote_arena
from bench_scale import SCALES
from contest import Arena, Collections

#: Seconds until both runners look as rarely as they ever do, and for which nothing happens: several of their intervals.
SETTLED, IDLE = 30.0, 30.0


def _bare_forks(number: int, at_once: int) -> float:
    """Return the seconds that it takes to run the function in forks of a process that has imported jobflow."""
    code = (
        "import os, sys, time, jobflow\n"
        "number, at_once = map(int, sys.argv[1:])\n"
        "begun, running = time.monotonic(), 0\n"
        "for n in range(number):\n"
        "    if running == at_once:\n"
        "        os.wait(); running -= 1\n"
        "    if os.fork() == 0:\n"
        "        os._exit(0 if n + 1 else 1)\n"
        "    running += 1\n"
        "while running:\n"
        "    os.wait(); running -= 1\n"
        "print(time.monotonic() - begun)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(number), str(at_once)], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


# End to end


def chain(ground: Ground) -> Measured:
    times = []
    for contestant in (ground.ours, ground.peer):
        with ground.arena(contestant) as (arena, collections):
            # The first jobs find nothing that is warm yet; a user's second flow is measured, for both.
            seconds_for(arena, collections, "chain(2)")
            times.append(seconds_for(arena, collections, "chain(10)"))
    return Measured(*times, floor=_bare_forks(10, 1))


def fan(ground: Ground) -> Measured:
    with ground.arena(ground.ours) as (arena, collections):
        seconds_for(arena, collections, "chain(2)")
        ours = 300 / seconds_for(arena, collections, "many(300)")
    # jobflow-remote has no limit by itself, which two cores do not bear well: its best of two.
    best = 0.0
    for most in (None, 2):
        with ground.arena(ground.peer, **({"max_jobs": most} if most else {})) as (arena, collections):
            best = max(best, 30 / seconds_for(arena, collections, "many(30)"))
    return Measured(ours, best, floor=300 / _bare_forks(300, 2))


def batch(ground: Ground) -> Measured:
    options = {"max_jobs": 1, "batch": {"parallel_jobs": 2, "max_wait": 10}}
    with ground.arena(ground.ours, **options) as (arena, collections):
        seconds_for(arena, collections, "many(2)")
        ours = 200 / seconds_for(arena, collections, "many(200)")
    with ground.arena(ground.peer, **options) as (arena, collections):
        peer = 20 / seconds_for(arena, collections, "many(20)")
    return Measured(ours, peer, floor=200 / _bare_forks(200, 2))


def ssh(ground: Ground) -> Measured:
    rates = []
    for contestant, number in ((ground.ours, 50), (ground.peer, 15)):
        home = ground.home / f"{contestant.name}-{next(numbers)}"
        with remote_arena(contestant, home, ground.stores, JOBS, DELAY) as (arena, collections, _):
            seconds_for(arena, collections, "many(1)")
            rates.append(number / seconds_for(arena, collections, f"many({number})"))
    return Measured(*rates)


def round_trips(ground: Ground) -> Measured:
    turns = []
    for contestant, number in ((ground.ours, 50), (ground.peer, 15)):
        home = ground.home / f"{contestant.name}-{next(numbers)}"
        with remote_arena(contestant, home, ground.stores, JOBS, DELAY) as (arena, collections, link):
            seconds_for(arena, collections, "many(1)")
            before = link.turns
            seconds_for(arena, collections, f"many({number})")
            turns.append((link.turns - before) / number)
    return Measured(*turns)


# Processes


def _cpu(processes: Sequence[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def idle(ground: Ground) -> Measured:
    shares = []
    for contestant in (ground.ours, ground.peer):
        with ground.arena(contestant) as (arena, _):
            time.sleep(SETTLED)
            processes = processes_of(arena)
            before = _cpu(processes)
            time.sleep(IDLE)
            shares.append(100 * (_cpu(processes) - before) / IDLE)
    return Measured(*shares)


def idle_commands(ground: Ground) -> Measured:
    rates = []
    for contestant in (ground.ours, ground.peer):
        with ground.arena(contestant) as (_, collections):
            time.sleep(SETTLED)
            # Every five minutes mongod writes the sessions that earlier rows have used, and counts that as commands.
            while (number := _commands(collections)) is None:
                pass
            rates.append(number / IDLE)
    return Measured(*rates)


def _commands(collections: Collections) -> int | None:
    """Count the commands for a while; None if mongod has written sessions meanwhile."""
    begun = collections.client.admin.command("serverStatus")
    time.sleep(IDLE)
    ended = collections.client.admin.command("serverStatus")
    if len({status["logicalSessionRecordCache"]["sessionsCollectionJobCount"] for status in (begun, ended)}) > 1:
        return None
    kinds = ("insert", "query", "update", "delete", "getmore", "command")
    return sum(ended["opcounters"][kind] - begun["opcounters"][kind] for kind in kinds)


def memory(ground: Ground) -> Measured:
    sizes = []
    for contestant in (ground.ours, ground.peer):
        with ground.arena(contestant) as (arena, _):
            time.sleep(3)
            sizes.append(sum(process.memory_full_info().pss for process in processes_of(arena)) / 1e6)
    return Measured(*sizes)


def start(ground: Ground) -> Measured:
    times = []
    for contestant in (ground.ours, ground.peer):
        home = ground.home / f"{contestant.name}-{next(numbers)}"
        worker = {"type": "local", "scheduler_type": "shell", "work_dir": str(home / "work")}
        arena = Arena.lay_out(contestant, home, ground.stores, JOBS, {"local": worker}, DELAY)
        arena.call(*contestant.prepare)
        begun = time.monotonic()
        arena.call(*contestant.start)
        times.append(time.monotonic() - begun)
        arena.call(*contestant.stop)
    return Measured(*times)


def restart(ground: Ground) -> Measured:
    with ground.arena(ground.ours) as (arena, collections):
        seconds_for(arena, collections, "chain(2)")
        (role,) = [p for p in processes_of(arena) if "checkout-1" in " ".join(p.cmdline())]
        # A job is waiting for it when it is killed.
        role.suspend()
        submitted = time.time()
        arena.submit("many(1)")
        role.kill()
        begun = time.time()
        new = {"state": {"$nin": ["READY", "WAITING"]}, "created_on": {"$gte": _naive(submitted)}}
        deadline = time.monotonic() + 60
        while not (job := collections["jobs"].find_one(new)):
            if time.monotonic() > deadline:
                raise SystemExit("the killed role claimed nothing within 60 s")
            time.sleep(0.01)
        return Measured(job["updated_on"].replace(tzinfo=UTC).timestamp() - begun)


def _naive(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)


def command_line(*words: str, peer: Sequence[str] | None = None) -> Callable[[Ground], Measured]:
    """Return the measurement of the CPU time that a command takes."""

    def measure(ground: Ground) -> Measured:
        with ground.arena(ground.ours) as (arena, _):
            ours = _cpu_of(arena, [str(Path(ground.ours.python).with_name("jfr-mp")), *words])
        with ground.arena(ground.peer) as (arena, _):
            theirs = _cpu_of(arena, [str(Path(ground.peer.python).with_name("jf")), *(peer or words)])
        return Measured(ours, theirs)

    return measure


def _cpu_of(arena: Arena, command: Sequence[str]) -> float:
    """Return the least CPU seconds of a command in three runs."""
    times = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, env=dict(arena.env), capture_output=True, check=False)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(times)


def cold(ground: Ground) -> Measured:
    """Measure the worker command of each, which runs a job again; nothing is warm for it, as on a cluster."""
    times = []
    for contestant in (ground.ours, ground.peer):
        with ground.arena(contestant) as (arena, collections):
            seconds_for(arena, collections, "many(1)")
            (job,) = collections["jobs"].find({}, {"run_dir": 1})
            command = [word.format(job["run_dir"]) for word in contestant.worker_command.split()]
            times.append(_cpu_of(arena, command))
            floor = _cpu_of(arena, [contestant.python, "-c", "import jobflow"])
    return Measured(*times, floor=floor)


def scale(name: str) -> Callable[[Ground], Measured]:
    """Return the measurement of how much more one operation takes in a large database than in a small one."""
    return lambda ground: Measured(SCALES[name](ground.stores, f"scale_{next(numbers)}_{os.getpid()}"))


ROWS = (
    Row("chain", "a chain of 10 trivial jobs, local", "s", chain, times=25),
    Row("fan", "independent trivial jobs, local", "jobs/s", fan, more_is_better=True, times=30, bound=18),
    Row("batch", "independent trivial jobs in a batch with 2 slots", "jobs/s", batch, more_is_better=True, times=20),
    Row("submit", "submit_flow of a flow of 5,000 jobs", "s", submit, times=2),
    Row("many", "many jobs in 10 flows: the last rate", "of first", many, more_is_better=True, bound=0.9, long=True),
    Row("attack", "good jobs beside attacks: their rate", "of usual", attack, more_is_better=True, bound=0.9),
    Row("ssh", "jobs over SSH, 50 ms a round trip", "jobs/s", ssh, more_is_better=True, times=10),
    Row("round trips", "round trips of SSH while 50 jobs wait", "a job", round_trips, bound=3),
    Row("claim", "a claim among 100,000 READY jobs, against 50", "times", scale("claim"), bound=1.3),
    Row("other worker", "a claim for a worker beside 50,000 of another", "times", scale("other worker"), bound=1.3),
    Row("output", "storing an output among 100,000, against 100", "times", scale("output"), bound=1.3),
    Row("completion", "a completion in a flow of 5,000, against 50", "times", scale("completion"), bound=1.3),
    Row("idle", "CPU of all processes when nothing happens", "% of core", idle, bound=1.0),
    Row("idle commands", "commands to mongod when nothing happens", "1/s", idle_commands, bound=2.0),
    Row("memory", "PSS of all processes", "MB", memory, bound=150),
    Row("start", "the command that starts the runner", "s", start, bound=2.0),
    Row("restart", "a killed role: until it claims again", "s", restart, bound=0.5),
    Row("cold", "CPU of the worker command for a trivial job", "s", cold, times=2),
    Row("help", "CPU of `--help`", "s", command_line("--help"), bound=0.2),
    Row("job list", "CPU of `job list`", "s", command_line("job", "list"), bound=0.5),
    Row("status", "CPU of `status`", "s", command_line("status", peer=("runner", "status")), bound=0.5),
)
