"""The tasks of a process: what the loop does for the roles that it plays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from jfr_mp import states
from jfr_mp.advance import Advanced, Advancer
from jfr_mp.limits import WorkerLimits
from jfr_mp.loop import Task
from jfr_mp.polling import Polling
from jfr_mp.roles import interval
from jfr_mp.states import JobState, Role, Step, steps_of
from jfr_mp.wakeups import Wakeups

#: Seconds before a scheduler is asked again in whose answer a job was missing.
_DOUBT = 1.0


class Tasks:
    """Makes the tasks of roles.

    Parameters
    ----------
    advancer
        Moves the jobs.
    wakeups
        Where the news of each move goes.
    query
        Which jobs these tasks are for; None for all.
    """

    def __init__(self, advancer: Advancer, wakeups: Wakeups, query: Mapping[str, Any] | None = None) -> None:
        self._query = dict(query or {})
        self._advancer = advancer
        self._wakeups = wakeups
        self._project = advancer.services.project
        self.polling = Polling(advancer, self._announce)
        self.limits = WorkerLimits(self._project, advancer.db)

    def of_roles(self, roles: Iterable[Role]) -> list[Task]:
        """Return the tasks of these roles, in the order in which a job meets them."""
        return [task for role in roles for step in steps_of(role) for task in self._of_step(step)]

    def _of_step(self, step: Step) -> list[Task]:
        every = interval(step, self._project)
        if step is states.POLL:
            probe = self._project.jfr_mp.probe_interval
            return [
                Task("poll", every, self._ask_schedulers),
                Task("journal", probe, self._follow_journals, frozenset({JobState.SUBMITTED})),
            ]
        run = self._submit if step is states.SUBMIT else partial(self._advance, step)
        return [Task(step.name, every, run, frozenset(step.sources))]

    def _advance(self, step: Step) -> float | None:
        """Move one job; 0 while there was one, because the next may be waiting."""
        advanced = self._advancer.advance(step, query=self._query)
        if advanced is None:
            return None
        self._announce(advanced)
        return 0.0

    def _submit(self) -> float | None:
        """Submit one job of a worker that may have more."""
        self.limits.refresh()
        full = self.limits.full_workers()
        advanced = self._advancer.advance(states.SUBMIT, query=self._query, exclude_workers=full)
        if advanced is None:
            return None
        self.polling.submitted(advanced.worker)
        self._announce(advanced)
        return 0.0

    def _ask_schedulers(self) -> float | None:
        return _DOUBT if self.polling.ask_schedulers(self._query) else None

    def _follow_journals(self) -> float | None:
        if not self.polling.anything_submitted:
            return None
        self.polling.follow_journals()
        return self._project.jfr_mp.journal_interval

    def _announce(self, advanced: Advanced) -> None:
        for state in advanced.states:
            self._wakeups.publish(state, advanced.worker, advanced.db_id)
        if self.limits and JobState.RUNNING not in advanced.states:
            # A job that left the scheduler makes room for one that waits.
            self._wakeups.publish(JobState.UPLOADED, advanced.worker, advanced.db_id)
