"""The lanes of a process: one for each host if a role works with hosts, otherwise one for the role."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from jfr_mp.database.connection import QueueDatabase
from jfr_mp.database.deployment import Deployment
from jfr_mp.database.filters import JobFilter
from jfr_mp.database.leases import Lease
from jfr_mp.database.output_files import OutputFiles, Strays
from jfr_mp.database.reconcile import Reconciler
from jfr_mp.engine.deadlines import deadlines
from jfr_mp.engine.lanes import Lanes
from jfr_mp.engine.loop import Task
from jfr_mp.engine.step_runner import StepRunner
from jfr_mp.engine.tasks import LaneTasks
from jfr_mp.engine.traces import NO_TRACES, Traces
from jfr_mp.engine.wakeups import Wakeups
from jfr_mp.model import Condition
from jfr_mp.sites.circuit_breaker import CircuitBreaker
from jfr_mp.sites.site import Connections
from jfr_mp.step_table import ROLES, Role
from jfr_mp.steps.services import Services

#: Seconds between two checks of all flows, and until another process takes over the checks.
_RECONCILE_EVERY, _RECONCILE_WITHIN = 300.0, 10.0


@dataclass(frozen=True)
class Engine:
    """The resources that the lanes of a process share.

    Parameters
    ----------
    db
        The queue database.
    services
        The services for the steps.
    owner
        The identity of the process, which locks and leases name.
    traces
        Where the spans of the jobs go.
    """

    db: QueueDatabase
    services: Services
    owner: str
    traces: Traces = field(default=NO_TRACES, kw_only=True)

    def steps(self, wakeups: Wakeups) -> StepRunner:
        """Return the step runner of a lane with these wake-ups."""
        return StepRunner(self.db, self.services, self.owner, wakeups, self.traces)


def open_lanes(lanes: Lanes, roles: Sequence[Role], engine: Engine, give_up: Callable[[], None] = lambda: None) -> None:
    """Open the lanes of a process.

    Parameters
    ----------
    lanes
        The lanes to add to.
    roles
        The roles of the process.
    engine
        The shared resources.
    give_up
        Ends this process because a step hangs; by default it goes on with its other lanes.
    """
    db, services, owner = engine.db, engine.services, engine.owner
    services.transfers.tell = lambda transfers: lanes.report(Condition(transfers=list(transfers)))
    lanes.open("deadlines", lambda _wakeups: [deadlines(db, services.in_hand, lanes.report, give_up)])
    for role in roles:
        for plan in plans_of(role, services.connections):
            lease = Lease(db, _lease_name(plan, services), owner) if ROLES[role].exclusive else None
            lanes.open(plan.name, partial(_tasks, role, plan, engine, lease))
    if Role.COMPLETE in roles:
        lanes.open("reconcile", lambda _wakeups: [_reconciliation(db, owner), _strays(db)])


def _lease_name(plan: LanePlan, services: Services) -> str:
    """Return the name of the lease of a lane: machines that do not share the directories share no local workers."""
    here = [place for name, place in services.places.of_workers().items() if name in plan.workers]
    return "@".join([plan.name, *here[:1]])


def _tasks(role: Role, plan: LanePlan, engine: Engine, lease: Lease | None, wakeups: Wakeups) -> list[Task]:
    return LaneTasks(role, engine.steps(wakeups), wakeups, plan.jobs, plan.breaker, lease).tasks


@dataclass(frozen=True)
class LanePlan:
    """The plan for one lane: its name, its jobs, the circuit breaker of their host, if any, and its workers."""

    name: str
    jobs: JobFilter = field(default_factory=JobFilter)
    breaker: CircuitBreaker | None = None
    workers: tuple[str, ...] = ()


def plans_of(role: Role, connections: Connections, jobs: JobFilter | None = None) -> list[LanePlan]:
    """Return the plans of the lanes of a role: one for each host if the role works with hosts.

    Each job belongs to exactly one lane. The first lane also has the jobs whose worker was removed from the project, so
    that they fail with that reason.

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
        plans.append(LanePlan(f"{role}: {', '.join(names)}", theirs, breaker, tuple(names)))
    return plans or [LanePlan(role.value, jobs)]


def _reconciliation(db: QueueDatabase, owner: str) -> Task:
    """Return the task that repairs interrupted completions: one flow per turn, all flows periodically."""
    reconciler, lease = Reconciler(db, owner), Lease(db, "reconcile", owner)
    flows: list[str] = []
    outputs = OutputFiles(db)

    def run() -> float | None:
        if not lease.held():
            flows.clear()
            return _RECONCILE_WITHIN
        if not flows:
            flows.extend(reconciler.flows())
            outputs.collect_garbage()
        if flows and reconciler.suspects(uuid := flows.pop()):
            reconciler.examine(uuid)
        return 0.0 if flows else None

    return Task("reconcile", _RECONCILE_EVERY, run)


def _strays(db: QueueDatabase) -> Task:
    """Return the task that has output downloaded again which no complete role sees."""
    strays, options = Strays(db, Deployment(db)), db.project.jfr_mp

    def run() -> float | None:
        strays.send_back()
        return options.heartbeat_interval if strays.suspected else None

    return Task("strays", options.heartbeat_interval, run, longest=options.lease_ttl)
