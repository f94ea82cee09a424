"""The roles as data: a role is a row."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from operator import attrgetter

from jfr_mp import states
from jfr_mp.config import Project
from jfr_mp.states import JobState, Role, Step, steps_of


@dataclass(frozen=True)
class RoleRow:
    """What a role process does.

    Parameters
    ----------
    role
        Its name on the command line, in status and in logs.
    summary
        One line for help texts.
    scalable
        Whether several processes of it share the work (``--num-ROLE N``).
    """

    role: Role
    summary: str
    scalable: bool = False

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps of this role, in the order in which a job meets them."""
        return steps_of(self.role)


ROLES = (
    RoleRow(Role.CHECKOUT, "reserves the jobs that are READY"),
    RoleRow(Role.TRANSFER, "uploads inputs and downloads outputs", scalable=True),
    RoleRow(Role.QUEUE, "submits to the schedulers and watches them"),
    RoleRow(Role.COMPLETE, "stores outputs, adds the jobs they ask for, frees children", scalable=True),
)

#: The option of the project that says how long a step may go without looking for work.
_DELAYS = {
    states.CHECKOUT: "delay_checkout",
    states.UPLOAD: "delay_advance_status",
    states.SUBMIT: "delay_advance_status",
    states.POLL: "delay_check_run_status",
    states.BATCH: "delay_update_batch",
    states.DOWNLOAD: "delay_advance_status",
    states.COMPLETE: "delay_advance_status",
}


def interval(step: Step, project: Project) -> float:
    """Return the longest time, in seconds, between two looks of a step at the database.

    A look for claimable jobs is one indexed query, so `probe_interval` shortens it below the project's own delay. A
    poll and a look after batches ask a scheduler and keep the project's delay.
    """
    delay = float(attrgetter(_DELAYS[step])(project.runner))
    return delay if step in (states.POLL, states.BATCH) else min(delay, project.jfr_mp.probe_interval)


def wake_states(roles: Iterable[Role]) -> frozenset[JobState]:
    """Return the states whose arrival is news for any of these roles."""
    return frozenset(state for role in roles for step in steps_of(role) for state in step.sources)
