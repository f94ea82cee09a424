"""Which lanes a process opens: one for each host if a role works with hosts, otherwise one for the role."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from jfr_mp.database.changes import StateChanges
from jfr_mp.database.connection import QueueDatabase
from jfr_mp.database.filters import JobFilter
from jfr_mp.database.leases import Lease
from jfr_mp.database.reconcile import Reconciler
from jfr_mp.engine.lanes import Lanes
from jfr_mp.engine.loop import Task
from jfr_mp.engine.step_runner import StepRunner
from jfr_mp.engine.tasks import LaneTasks
from jfr_mp.engine.wakeups import Wakeups
from jfr_mp.model import Condition
from jfr_mp.sites.circuit_breaker import CircuitBreaker
from jfr_mp.sites.site import Connections
from jfr_mp.step_table import ROLES, Role, wake_states
from jfr_mp.steps.services import Services

#: Seconds that the server holds an answer back while there is no news; a stop waits for it.
_NEWS_WAIT = 0.5

#: Seconds between two looks at all flows for repairs, and until another process takes that over.
_RECONCILE_EVERY, _RECONCILE_WITHIN = 300.0, 10.0


@dataclass(frozen=True)
class Engine:
    """What the lanes of a process work with.

    Parameters
    ----------
    db
        The queue database.
    services
        What the steps may use.
    owner
        The identity that locks and leases name.
    """

    db: QueueDatabase
    services: Services
    owner: str

    def steps(self, wakeups: Wakeups) -> StepRunner:
        """Return what moves the jobs of a lane with these wake-ups."""
        return StepRunner(self.db, self.services, self.owner, wakeups)


def open_lanes(lanes: Lanes, roles: Sequence[Role], engine: Engine) -> None:
    """Open the lanes of a process.

    Parameters
    ----------
    lanes
        Where they are opened.
    roles
        The roles that the process plays.
    engine
        What the lanes work with.
    """
    db, services, owner = engine.db, engine.services, engine.owner
    services.transfers.tell = lambda transfers: lanes.report(Condition(transfers=list(transfers)))
    if db.supports_transactions:
        # News from elsewhere: of a submission, of another machine's roles, of jobflow-remote.
        lanes.open("news", lambda _wakeups: [_news(StateChanges(db, wake_states(roles)), lanes)])
    for role in roles:
        for plan in plans_of(role, services.connections):
            lease = Lease(db, plan.name, owner) if ROLES[role].exclusive else None
            lanes.open(plan.name, partial(_tasks, role, plan, engine, lease))
    if Role.COMPLETE in roles:
        lanes.open("reconcile", lambda _wakeups: [_reconciliation(db, owner)])


def _tasks(role: Role, plan: LanePlan, engine: Engine, lease: Lease | None, wakeups: Wakeups) -> list[Task]:
    return LaneTasks(role, engine.steps(wakeups), wakeups, plan.jobs, plan.breaker, lease).tasks


@dataclass(frozen=True)
class LanePlan:
    """What one lane does: its name, its jobs, and the circuit breaker of their host if it works with one."""

    name: str
    jobs: JobFilter = field(default_factory=JobFilter)
    breaker: CircuitBreaker | None = None


def plans_of(role: Role, connections: Connections, jobs: JobFilter | None = None) -> list[LanePlan]:
    """Return the lanes of a role: one for each host if the role works with hosts.

    Each job is in one of them, and only one: the first also has those whose worker is not in the project any more, so
    that the job says so.

    Parameters
    ----------
    jobs
        Only these jobs; None for all.
    """
    jobs = jobs or JobFilter()
    if not ROLES[role].per_host:
        return [LanePlan(role.value, jobs)]
    groups = list(connections.workers_by_host().values())
    plans = []
    for number, names in enumerate(groups):
        elsewhere = sorted(name for group in groups if group is not names for name in group)
        theirs = jobs.without_workers(elsewhere) if number == 0 else replace(jobs, workers=tuple(names))
        breaker = connections.breaker(connections.project.workers[names[0]])
        plans.append(LanePlan(f"{role}: {', '.join(names)}", theirs, breaker))
    return plans or [LanePlan(role.value, jobs)]


def _news(changes: StateChanges, lanes: Lanes) -> Task:
    """Return the task that turns changes in the database into wake-ups."""

    def run() -> float:
        state = changes.wait(_NEWS_WAIT)
        if state is not None:
            lanes.deliver({state})
        return 0.0

    return Task("news", _NEWS_WAIT, run)


def _reconciliation(db: QueueDatabase, owner: str) -> Task:
    """Return the task that repairs flows whose completion was cut off: one flow a turn, all of them now and then."""
    reconciler, lease = Reconciler(db, owner), Lease(db, "reconcile", owner)
    flows: list[str] = []

    def run() -> float | None:
        if not lease.held():
            flows.clear()
            return _RECONCILE_WITHIN
        if not flows:
            flows.extend(reconciler.flows())
        if flows:
            reconciler.examine(flows.pop())
        return 0.0 if flows else None

    return Task("reconcile", _RECONCILE_EVERY, run)
