"""The crew of a master: the role processes that it keeps, and which of them are wanted now."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence

from jfr_mp.bus.messages import MasterStatus
from jfr_mp.identity import host_name
from jfr_mp.step_table import Role
from jfr_mp.supervisor.child import Child, ChildSpec, specs
from jfr_mp.supervisor.lifecycle import State


class Crew:
    """The children of a master, which commands can hold, release, add and remove.

    Parameters
    ----------
    roles
        How many processes of each role.
    held
        The roles whose processes are not to run at first.
    hire
        Returns the child for a role process that is wanted.

    Attributes
    ----------
    children : list of Child
        The processes that were removed are listed until they have stopped.
    """

    def __init__(self, roles: Mapping[Role, int], held: Collection[Role], hire: Callable[[ChildSpec], Child]) -> None:
        self._hire = hire
        self._roles = dict(roles)
        self._held = set(held)
        self.children = [hire(spec) for spec in specs(roles)]

    @property
    def roles(self) -> Mapping[Role, int]:
        """How many processes of each role are kept."""
        return self._roles

    @property
    def held(self) -> frozenset[Role]:
        """The roles among them whose processes are not to run."""
        return frozenset(self._held & self._roles.keys())

    def status(self, state: str, notices: Sequence[str]) -> MasterStatus:
        """Return the status of the master, which this process is, and of its role processes."""
        now, conditions = time.monotonic(), [child.condition for child in self.children]
        return MasterStatus(
            host=host_name(),
            pid=os.getpid(),
            state=state,
            roles=[child.status(now) for child in self.children],
            outages=[outage for condition in conditions for outage in condition.outages or ()],
            transfers=[transfer for condition in conditions for transfer in condition.transfers or ()],
            steps=[step for condition in conditions for step in condition.steps or ()],
            notices=list(notices),
        )

    def wants(self, child: Child) -> bool:
        """Return whether the process of a child is to run."""
        return child.spec in self._specs() and child.spec.role not in self._held

    def hold(self, roles: Collection[Role]) -> list[Child]:
        """Let no process of these roles run; return the children to stop."""
        self._held.update(roles)
        return [child for child in self.children if child.spec.role in roles]

    def release(self, roles: Collection[Role]) -> None:
        """Let the processes of these roles run again."""
        self._held.difference_update(roles)

    def scale(self, role: Role, number: int) -> list[Child]:
        """Keep this number of processes of a role; return the children to stop."""
        kept = {**self._roles, role: number}
        self._roles = {each: kept[each] for each in Role if kept.get(each)}
        specs = self._specs()
        known = {child.spec for child in self.children}
        self.children += [self._hire(spec) for spec in specs if spec not in known]
        return [child for child in self.children if child.spec not in specs]

    def dismiss(self) -> None:
        """Forget the children that were removed and have stopped."""
        specs = self._specs()
        gone = (State.STOPPED, State.FATAL)
        self.children[:] = [child for child in self.children if child.spec in specs or child.life.state not in gone]

    def _specs(self) -> list[ChildSpec]:
        return specs(self._roles)
