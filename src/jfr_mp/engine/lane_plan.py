"""Which lanes a process opens: a lane of its own for each host, where a role works with hosts."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import partial
from typing import Any

from jfr_mp.config import Project
from jfr_mp.database.changes import StateChanges
from jfr_mp.database.connection import QueueDatabase
from jfr_mp.database.leases import Lease
from jfr_mp.database.reconcile import Reconciler
from jfr_mp.engine.lanes import Lanes
from jfr_mp.engine.loop import Task
from jfr_mp.engine.step_runner import StepRunner
from jfr_mp.engine.tasks import Tasks
from jfr_mp.engine.wakeups import Wakeups
from jfr_mp.model import Condition
from jfr_mp.step_table import ROLES, Role, wake_states
from jfr_mp.steps.circuit_breaker import CircuitBreaker
from jfr_mp.steps.services import Services

#: Seconds that the server holds an answer back while there is no news; a stop waits for it.
_NEWS_WAIT = 0.5

#: Seconds between two looks at all flows for repairs, and until another process takes that over.
_RECONCILE_EVERY, _RECONCILE_WITHIN = 300.0, 10.0


def open_lanes(lanes: Lanes, roles: Sequence[Role], db: QueueDatabase, services: Services, owner: str) -> None:
    """Open the lanes of a process.

    Parameters
    ----------
    lanes
        Where they are opened.
    roles
        The roles that the process plays.
    db, services, owner
        What the lanes work with; the owner is the one that their locks name.
    """

    def tasks(
        role: Role, query: Mapping[str, Any], health: CircuitBreaker | None, lease: Lease | None, wakeups: Wakeups
    ) -> list[Task]:
        return Tasks(StepRunner(db, services, owner, wakeups), wakeups, query, health, lease).of_role(role)

    services.transfers.tell = lambda transfers: lanes.report(Condition(transfers=list(transfers)))
    if db.supports_transactions:
        # News from elsewhere: of a submission, of another machine's roles, of jobflow-remote.
        lanes.open("news", lambda _wakeups: [_news(StateChanges(db, wake_states(roles)), lanes)])
    for role in roles:
        if ROLES[role].per_host:
            for host, query in queries_by_host(services.project).items():
                name = f"{role}: {host}"
                # One process in the whole deployment asks a scheduler and counts what it holds.
                lease = Lease(db, name, owner) if ROLES[role].exclusive else None
                lanes.open(name, partial(tasks, role, query, services.health(host), lease))
        else:
            lanes.open(role.value, partial(tasks, role, {}, None, None))
    if Role.COMPLETE in roles:
        lanes.open("reconcile", lambda _wakeups: [_reconciliation(db, owner)])


def _news(changes: StateChanges, lanes: Lanes) -> Task:
    """Return the task that turns changes in the database into wake-ups."""

    def run() -> float:
        state = changes.wait(_NEWS_WAIT)
        if state is not None:
            lanes.deliver({state})
        return 0.0

    return Task("news", _NEWS_WAIT, run)


def _reconciliation(db: QueueDatabase, owner: str) -> Task:
    """Return the task that repairs flows that were left half done: one flow a turn, all of them now and then."""
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


def queries_by_host(project: Project) -> dict[str, dict[str, Any]]:
    """Return the query for the jobs of each host of a project.

    Each job is in one of them, and only one: the first also has those whose worker is not in the project any more, so
    that somebody says so on the job.

    Returns
    -------
    dict of str to dict
        By the names of the host's workers.
    """
    groups: dict[Hashable, list[str]] = {}
    for name, worker in project.workers.items():
        groups.setdefault(worker.host_key, []).append(name)
    if len(groups) <= 1:
        return {", ".join(project.workers): {}}
    first, *others = groups.values()
    elsewhere = sorted(name for group in others for name in group)
    return {
        ", ".join(first): {"worker": {"$nin": elsewhere}},
        **{", ".join(group): {"worker": {"$in": group}} for group in others},
    }
