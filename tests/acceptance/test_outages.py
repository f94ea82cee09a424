"""What the jobs need goes away while they are in all phases: they wait, and everything goes on afterwards by itself."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from jobflow import Flow, Job

from jfr_mp import submit_flow
from jfr_mp.errors import ExitCode
from jfr_mp.states import FINAL_STATES, JobState
from tests.acceptance.conftest import NewUser
from tests.support.cluster import Cluster, Scheduler
from tests.support.history import History
from tests.support.jobs import ledger_lines, waits_for
from tests.support.ledger_jobs import signs
from tests.support.mongod import Mongod
from tests.support.processes import wait_gone
from tests.support.projects import ProjectFactory
from tests.support.user import User, all_pids, summary
from tests.support.waiting import wait_until

#: Seconds that an outage lasts here, so that the tests do not last long; with 60 all is the same.
OUTAGE = float(os.environ.get("JFR_MP_TEST_OUTAGE", "10"))
#: Who spends an attempt is stuck for good.
NO_ATTEMPT_TO_SPEND = {"max_step_attempts": 1, "delta_retry": [1000], "delay_check_run_status": 1}
ON_THE_WAY = {state.value for state in JobState if state not in FINAL_STATES} - {"REMOTE_ERROR", "PAUSED"}

pytestmark = pytest.mark.timeout(300)


@dataclass(frozen=True)
class Site:
    """A user whose master runs, for jobs on this machine and on a cluster, and everything that can be taken away."""

    user: User
    mongod: Mongod
    cluster: Cluster


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A site for all outages of this module; each leaves it as it was."""
    directory = tmp_path_factory.mktemp("site")
    (directory / "desk").mkdir()
    with ExitStack() as stack:
        mongod = Mongod(directory / "mongod", replica_set="rs_site")
        stack.callback(mongod.close)
        mongod.start()
        cluster = Cluster(directory / "cluster")
        stack.callback(cluster.stop)
        cluster.start()
        monkeypatch = stack.enter_context(pytest.MonkeyPatch.context())
        factory = ProjectFactory(directory, monkeypatch, mongod)
        stack.callback(factory.remove)
        workers = {
            "cluster": cluster.worker(directory / "work" / "cluster"),
            # Where jobs wait to be submitted, and to be downloaded.
            "narrow": cluster.worker(directory / "work" / "narrow", max_jobs=1),
            "late": cluster.worker(directory / "work" / "late", delay_download=int(OUTAGE)),
        }
        user = User(factory("site", runner=NO_ATTEMPT_TO_SPEND, workers=workers), directory / "desk")
        user.start()
        yield Site(user, mongod, cluster)


Outage = Callable[[Site, Callable[[], None]], None]


def database(site: Site, halfway: Callable[[], None]) -> None:
    """Let mongod crash, and come back."""
    site.mongod.kill()
    time.sleep(OUTAGE / 2)
    halfway()
    time.sleep(OUTAGE / 2)
    site.mongod.start()


def login_node(site: Site, halfway: Callable[[], None]) -> None:
    """Let the login node go down with all connections, and come back."""
    site.cluster.sshd.kill()
    time.sleep(OUTAGE / 2)
    halfway()
    time.sleep(OUTAGE / 2)
    site.cluster.sshd.start()


def squeue(site: Site, halfway: Callable[[], None]) -> None:
    """Let squeue fail, then say nothing, then say half."""
    site.cluster.answers(Scheduler.SQUEUE_FAILS)
    time.sleep(OUTAGE / 3)
    site.cluster.answers(Scheduler.SQUEUE_SAYS_NOTHING)
    time.sleep(OUTAGE / 3)
    site.cluster.answers(Scheduler.SQUEUE_SAYS_HALF)
    halfway()
    time.sleep(OUTAGE / 3)
    site.cluster.answers(Scheduler.WELL)


class Load:
    """Jobs of one test, each of which signs a ledger.

    Parameters
    ----------
    site
        Where they run.
    directory
        For their ledger and their gate.
    """

    def __init__(self, site: Site, directory: Path) -> None:
        self.gate, self.ledger = directory / "gate", directory / "ledger"
        self._db = site.user.project.db
        self._names: list[str] = []
        self._flows: list[str] = []

    def submit_slow_jobs(self) -> None:
        """Submit jobs that stay in all phases for a while, and wait until they are there."""
        for worker in ("local", "cluster", "narrow"):
            self._names.append("1.0")
            runs = waits_for(str(self.gate), 1.0, str(self.ledger))
            self._submit([runs, self._signs(f"{worker}-after", runs)], worker)
        self._submit([self._signs("not-submitted")], "narrow")
        self._submit([self._signs("not-downloaded")], "late")
        self._wait_for_states("WAITING", "UPLOADED", "RUNNING", "RUN_FINISHED")
        # The scheduler has it, and starts it during the outage.
        self._submit([self._signs("queued")], "cluster", {"qverbatim": f"#SBATCH --begin=now+{OUTAGE:.0f}"})
        self._wait_for_states("WAITING", "UPLOADED", "SUBMITTED", "RUNNING", "RUN_FINISHED")

    def submit_quick_jobs(self) -> None:
        """Submit jobs that nothing holds up."""
        for name in ("local", "cluster"):
            for number in range(3):
                first = self._signs(f"{name}-{number}-first")
                self._submit([first, self._signs(f"{name}-{number}-second", first)], name)

    def wait_until_completed(self) -> None:
        """Wait until all jobs and flows are completed."""
        query = {"uuid": {"$in": self._flows}}

        def completed() -> bool:
            documents = [*self._jobs(), *self._db.flows.find(query, {"state": 1})]
            return all(document["state"] == "COMPLETED" for document in documents)

        self._wait(completed, 150, "the end of all jobs")

    def assert_each_ran_once(self) -> None:
        """Compare what was submitted and what ran."""
        assert ledger_lines(self.ledger) == sorted(self._names)

    def _signs(self, name: str, after: Job | None = None) -> Job:
        self._names.append(name)
        return signs(str(self.ledger), name, after and after.output)

    def _submit(self, jobs: list[Job], worker: str, resources: dict[str, str] | None = None) -> None:
        flow = Flow([*jobs])
        submit_flow(flow, worker=worker, resources=resources)
        self._flows.append(flow.uuid)

    def _jobs(self) -> list[dict[str, Any]]:
        return list(self._db.jobs.find({"job.hosts": {"$in": self._flows}}))

    def _wait_for_states(self, *states: str) -> None:
        """Wait until there are jobs in all these states at once."""
        self._wait(lambda: {job["state"] for job in self._jobs()} >= set(states), 60, f"jobs in {', '.join(states)}")

    def _wait(self, predicate: Callable[[], bool], timeout: float, what: str) -> None:
        try:
            wait_until(predicate, timeout, what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{summary(self._jobs())}") from None


@pytest.mark.parametrize("outage", [database, login_node, squeue])
def test_an_outage_costs_no_job_an_attempt(
    site: Site, outage: Outage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Given jobs in all phases, here and on the cluster, in a project in which a job that spends an attempt is stuck
    db, before = site.user.project.db, all_pids(site.user.masters())
    with History(site.mongod.uri, db.name) as history:
        load = Load(site, tmp_path)
        load.submit_slow_jobs()
        load.submit_quick_jobs()

        # When something is away for a while, and jobs that run end meanwhile
        outage(site, load.gate.touch)
        over = time.monotonic()

        # Then everything is completed
        load.wait_until_completed()
        took = time.monotonic() - over

    # And no job was in a state of error or spent an attempt at any time, and each ran once
    assert history.states() <= ON_THE_WAY | {"COMPLETED"}
    assert history.attempts() == []
    load.assert_each_ran_once()

    # And nothing is left behind, by the same processes
    locked = {"lock_id": {"$ne": None}}
    wait_until(lambda: not db.jobs.find_one(locked) and not db.flows.find_one(locked), 30, "the end of all locks")
    assert all_pids(site.user.masters()) == before
    with capsys.disabled():
        print(f"\n{outage.__name__} away for {OUTAGE:g} s: all was completed {took:.1f} s after", end=" ")


def test_jobs_go_on_after_an_outage_of_the_database(new_user: NewUser, own_mongod: Mongod, tmp_path: Path) -> None:
    # Given jobs at all stages, and a project in which a job that spends an attempt is stuck
    user = new_user(server=own_mongod, runner=NO_ATTEMPT_TO_SPEND)
    ledger, gate = tmp_path / "ledger", tmp_path / "gate"
    before = user.start()
    waiting = user.submit("Flow([a, link(a.output)])", setup=f"a = waits_for({str(gate)!r}, 1)")
    signing = [f"writes_ledger({str(ledger)!r}, str({number}), 1)" for number in range(6)]
    flow = user.submit(f"Flow([{', '.join(signing)}, chain(3, {str(ledger)!r})])")
    waiting.wait_for_job("RUNNING")
    wait_until(lambda: "COMPLETED" in flow.states, 60, "the first jobs")

    # When the database crashes
    own_mongod.kill()
    back = time.monotonic() + 12

    # Then status shows the processes all the same
    status = user.json("status")
    assert status["jobs"] is None
    assert [role["state"] for role in status["masters"][0]["roles"]] == ["RUNNING"] * 4

    # And when a job has ended meanwhile, and the database is back
    gate.touch()
    wait_until(lambda: time.monotonic() > back, 60, "the end of the outage")
    own_mongod.start()

    # Then everything goes on by itself
    for submitted in (flow, waiting):
        submitted.wait_for("COMPLETED", timeout=120)
        assert set(submitted.states) == {"COMPLETED"}
        assert {job["remote"]["step_attempts"] for job in submitted.jobs} == {0}
    assert waiting.outputs == [1, 2]
    assert ledger_lines(ledger) == ["0", "1", "2", "3", "4", "5", "link-0", "link-1", "link-2"]

    # And by the same processes, which stop well
    assert all_pids(user.masters()) == all_pids([before])
    user.ok("stop")


def test_start_and_stop_are_clear_in_an_outage(new_user: NewUser, own_mongod: Mongod) -> None:
    # Given a database that is down
    user = new_user(server=own_mongod)
    own_mongod.stop()
    user.refused("start", code=ExitCode.DATABASE)

    # When it is up again, a start works
    own_mongod.start()
    master = user.start()

    # And a stop works, too, while it is down
    own_mongod.stop()
    user.ok("stop")
    wait_gone(all_pids([master]), timeout=1)
