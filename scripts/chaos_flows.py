"""The flows of `scripts/chaos`, each with what must have become of it in the end."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobflow import Flow, Job

from tests.support.jobs import ledger_lines
from tests.support.ledger_jobs import SIGNATURES, dynamic_flow, fails, is_killed, signs, uses_up_memory

#: What the script of a job does after the job: each job fails by it, and it alone.
TRAPS = {
    "fifo": "rm jfremote_out.json; mkfifo jfremote_out.json",
    "zero": "ln -sf /dev/zero jfremote_out.json",
    "long": "ln -sf $(printf x%.0s $(seq 300)) jfremote_out.json",
    "sparse": "truncate -s 10G jfremote_out.json",
    "data": "rm remote_job_data.json; mkfifo remote_job_data.json",
    "foreign": """sed -i 's/"uuid":"[0-9a-f]/"uuid":"x/' remote_job_data.json""",
}
#: Two ways to give a job little memory: a limit that its process notices, and a group in which the kernel kills it.
LITTLE_MEMORY, LITTLE_GROUP, ULIMIT = "little_memory", "little_group", "ulimit -v 6000000"
#: The exec_config of the flows of --more, without the one of the group.
EXEC_CONFIG = {
    **{name: {"post_run": text} for name, text in TRAPS.items()},
    LITTLE_MEMORY: {"pre_run": ULIMIT},
    "breaks_off": {"pre_run": "exit 1"},
}
#: The names of jobs that fail, and the states in which they may end.
FAILING = ["breaks_off", "fails", "hostile", "is_killed", "uses_up_memory"]
FAILED = "FAILED or REMOTE_ERROR"
#: How many jobs of a flood fail by a bug, and before they begin.
FLOOD = (5, 200)
#: A worker whose disk is full now and then, so that its jobs may fail; one whose files answer late now and then; one
#: whose jobs are forked from a process that has done their imports.
SMALL, LATE, WARM = "small", "late", "warm"


@dataclass(frozen=True)
class Expected:
    """A flow that was submitted.

    Parameters
    ----------
    ledger
        What its jobs sign.
    signatures
        Those that there must be in the end, sorted.
    states
        How many jobs must be in which state.
    may_fail
        Whether each job may fail instead, and then need not have signed.
    """

    ledger: Path
    signatures: list[str]
    states: Counter[str] = field(default_factory=Counter)
    may_fail: bool = False

    def finding(self) -> str | None:
        """Return what is wrong with the signatures."""
        lines = ledger_lines(self.ledger)
        if lines == self.signatures or (self.may_fail and len(set(lines)) == len(lines)):
            return None
        return f"{self.ledger.name}: executed {lines} instead of {self.signatures}"


@dataclass(frozen=True)
class Submission:
    """A flow to submit.

    Parameters
    ----------
    jobs
        Its jobs.
    expected
        What must become of it.
    workers
        Where it can run; any by default.
    """

    jobs: Flow
    expected: Expected
    workers: Collection[str] = ("local", "cluster", WARM, LATE)


def dynamic(ledger: Path, _chance: random.Random) -> Submission:
    """Return the replaced job, its replacement, the detoured one, the detour and the child."""
    return Submission(dynamic_flow(ledger), Expected(ledger, SIGNATURES, Counter(COMPLETED=5)))


def fan(ledger: Path, chance: random.Random) -> Submission:
    """Return a job, several that need it, and one that needs them."""
    names = [f"middle-{place}" for place in range(chance.randint(2, 5))]
    first = signs(str(ledger), "first")
    middle = [signs(str(ledger), name, first.output) for name in names]
    last = signs(str(ledger), "last", [job.output for job in middle])
    expected = Expected(ledger, sorted(["first", "last", *names]), Counter(COMPLETED=len(names) + 2))
    return Submission(Flow([first, *middle, last]), expected)


def failing(ledger: Path, _chance: random.Random) -> Submission:
    """Return a job that fails, one beside it, and one that waits for ever."""
    fine, bad = signs(str(ledger), "fine"), fails(str(ledger), "bad")
    flow = Flow([fine, bad, signs(str(ledger), "never", bad.output)])
    return Submission(flow, Expected(ledger, ["bad", "fine"], Counter({"COMPLETED": 1, FAILED: 1, "WAITING": 1})))


def hostile(ledger: Path, _chance: random.Random) -> Submission:
    """Return jobs that leave traps in the place of their files, beside good ones."""
    bad = [_named("hostile", signs(str(ledger), name), name) for name in TRAPS]
    good = [f"fine-{number}" for number in range(4)]
    flow = Flow([*bad, *(signs(str(ledger), name) for name in good)])
    return Submission(flow, Expected(ledger, sorted([*TRAPS, *good]), Counter({"COMPLETED": 4, FAILED: len(TRAPS)})))


def flood(ledger: Path, _chance: random.Random) -> Submission:
    """Return jobs that fail by the dozen, most of them before they begin."""
    bugs, early = FLOOD
    names = [f"fails-{number:03}" for number in range(bugs)]
    jobs = [fails(str(ledger), name) for name in names]
    jobs += [_named("breaks_off", signs(str(ledger), "never"), "breaks_off") for _ in range(early)]
    return Submission(Flow([*jobs]), Expected(ledger, names, Counter({FAILED: bugs + early})))


def memory(ledger: Path, _chance: random.Random) -> Submission:
    """Return jobs that use up their memory, one of them until the kernel kills it, and one that is killed for it."""
    limits = {"eats": LITTLE_MEMORY, "eats-all": LITTLE_GROUP}
    greedy = [_named("uses_up_memory", uses_up_memory(str(ledger), name), limit) for name, limit in limits.items()]
    flow = Flow([*greedy, is_killed(str(ledger), "killed")])
    return Submission(flow, Expected(ledger, [*limits, "killed"], Counter({FAILED: 3})))


def without_room(ledger: Path, _chance: random.Random) -> Submission:
    """Return jobs whose directories are on a disk that fills up: none runs twice, and each ends."""
    names = [f"{ledger.name}-{number}" for number in range(4)]
    jobs = [signs(str(ledger), name) for name in names]
    for job, name in zip(jobs, names, strict=True):
        job.name = name
    return Submission(Flow([*jobs]), Expected(ledger, names, may_fail=True), [SMALL])


KINDS: list[Callable[[Path, random.Random], Submission]] = [dynamic, dynamic, fan, fan, failing]
#: With --more.
MORE_KINDS = [*KINDS, hostile, hostile, flood, memory, without_room]


def findings_of_states(expected: Collection[Expected], jobs: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the jobs that are not in the states in which they must be.

    Parameters
    ----------
    expected
        All flows that were submitted.
    jobs
        All jobs of the queue.
    """
    must = sum((each.states for each in expected), Counter[str]())
    may_fail = {name: each.ledger for each in expected if each.may_fail for name in each.signatures}
    wrong, found = [], Counter[str]()
    # Each dynamic flow may have one named store_inputs, which only passes on the output of a replacement.
    for job in (job for job in jobs if job["job"]["name"] != "store_inputs"):
        name, state = job["job"]["name"], FAILED if job["state"] in ("FAILED", "REMOTE_ERROR") else job["state"]
        what = f"job {job['db_id']} ({name}) on {job['worker']} is {job['state']}"
        if (ledger := may_fail.pop(name, None)) is not None:
            if state not in ("COMPLETED", FAILED):
                wrong.append(what)
            elif state == "COMPLETED" and name not in ledger_lines(ledger):
                wrong.append(f"{what} and was not executed")
            continue
        found[state] += 1
        if state == FAILED and name not in FAILING:
            wrong.append(f"{what}: {job['error'] or job['remote']['error']}")
    wrong += [f"the job {name} is lost" for name in may_fail]
    if found != must:
        wrong.append(f"states {dict(found)} instead of {dict(must)}")
    return wrong


def _named(name: str, job: Job, exec_config: str) -> Job:
    job.name = name
    job.update_config({"manager_config": {"exec_config": exec_config}})
    return job
