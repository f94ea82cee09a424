"""Waiting for jobs to end."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

from jfr_mp.api.progress import FAILURES, MOST_NAMED, WaitLook, Watch, shown_progress
from jfr_mp.database import queries
from jfr_mp.database.filters import FlowFilter, JobFilter
from jfr_mp.errors import NotFound, WaitTimeout
from jfr_mp.states import FINAL_STATES, JobState

if TYPE_CHECKING:
    from jfr_mp.database.connection import QueueDatabase
    from jfr_mp.model import JobInfo

#: A job in one of these states does not move unless the user makes it.
AT_REST = (*FINAL_STATES, JobState.REMOTE_ERROR, JobState.PAUSED)
#: Seconds between two looks at the jobs: at first, and at most.
_SOON, _LATER = 0.1, 2.0

#: How many jobs are named by the command that waits for them again.
_NAMED = 10


def wait_for(
    db_ids: Sequence[str],
    *,
    project: str | None = None,
    timeout: float | None = None,
    flows: bool = False,
    progress: bool = True,
) -> dict[str, JobState]:
    """Wait until jobs have ended or cannot go on: they are paused, or wait for a job that failed.

    An interrupt (Ctrl-C, or the stop button of a notebook) ends the wait. It does not affect the jobs.

    Parameters
    ----------
    db_ids
        The jobs, as `jfr_mp.submit_flow` returns them.
    project
        The project; None for the project chosen in the settings.
    timeout
        Seconds to wait; None for no limit.
    flows
        Whether to wait for all jobs of the flows of these jobs, those included that are created on the way.
    progress
        Whether to show the progress: in a notebook as an updating display; otherwise on standard error, live on a
        terminal, and as occasional lines elsewhere.

    Returns
    -------
    dict
        The states of the jobs by db_id.

    Raises
    ------
    NotFound
        There is no such job.
    WaitTimeout
        The jobs did not end in time.
    """
    from jfr_mp.api.controller import JobController

    controller = JobController.from_project_name(project)
    try:
        wait = Wait(controller.db, db_ids, flows=flows)
        with shown_progress(wait_command(db_ids, flows=flows)) if progress else nullcontext(_unwatched) as watch:
            jobs = wait.until_done(timeout, watch)
    finally:
        controller.close()
    return {job.db_id: job.state for job in jobs}


def wait_command(db_ids: Sequence[str], *, flows: bool) -> str:
    """Return the command line that waits for jobs."""
    named = [*db_ids[:_NAMED], *(["..."] if len(db_ids) > _NAMED else [])]
    return f"jfr-mp {'flow' if flows else 'job'} wait {' '.join(named)}"


def _unwatched(_look: WaitLook) -> None:
    """Show nothing."""


class Wait:
    """Jobs that are waited for.

    Parameters
    ----------
    db
        The queue database.
    db_ids
        The jobs.
    flows
        Whether all jobs of their flows are waited for.

    Raises
    ------
    NotFound
        There is no such job.
    """

    def __init__(self, db: QueueDatabase, db_ids: Sequence[str], *, flows: bool = False) -> None:
        self._db = db
        known = {job.db_id for job in queries.jobs_info(db, JobFilter(db_ids=db_ids))}
        if missing := [db_id for db_id in db_ids if db_id not in known]:
            raise NotFound(f"there is no job {', '.join(missing)}")
        self._flows = [flow.flow_id for flow in queries.flows_info(db, FlowFilter(db_ids=db_ids))]
        self._members = JobFilter(flow_ids=self._flows)
        self._jobs = self._members if flows else JobFilter(db_ids=known)
        self._number = None if flows else len(known)

    def until_done(self, timeout: float | None = None, watch: Watch = _unwatched) -> list[JobInfo]:
        """Return the jobs as soon as all have ended or cannot go on.

        Raises
        ------
        WaitTimeout
            They did not in time.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        look, pause = WaitLook(), _SOON
        while True:
            before, (look, members) = look, self._look(look)
            if look.counts != before.counts:
                pause = _SOON
            watch(look)
            # The jobs are counted while they change; they are read only when it seems that all have ended.
            if _is_over(look.counts, members) and (jobs := self._ended()) is not None:
                return jobs
            if deadline is not None and time.monotonic() >= deadline:
                counts = {state: number for state, number in look.counts.items() if state not in AT_REST}
                left = ", ".join(f"{number} {state.name}" for state, number in counts.items())
                raise WaitTimeout(f"{left} after {timeout:g} s; wait again, or see `jfr-mp job explain ID`")
            time.sleep(pause)
            pause = min(2 * pause, _LATER)

    def _look(self, before: WaitLook) -> tuple[WaitLook, Collection[JobState]]:
        """Return what is to be seen of the jobs, and the states that occur in their flows."""
        members = queries.numbers_in_flows(self._db, self._flows)
        # If these are all jobs of the flows, as for most users who wait for many, the index is enough to count them.
        is_all = self._number in (None, sum(members.values()))
        counts = members if is_all else queries.numbers_by_state(self._db, self._jobs)
        if counts == before.counts:
            return before, members
        failures = [] if counts.keys().isdisjoint(FAILURES) else self._last_failures()
        return WaitLook(counts, failures), members

    def _last_failures(self) -> list[JobInfo]:
        failed = replace(self._jobs, states=FAILURES)
        return queries.jobs_info(self._db, failed, sort=[("updated_on", -1)], limit=MOST_NAMED)[::-1]

    def _ended(self) -> list[JobInfo] | None:
        """Return the jobs in the order in which they were made; None if one of them can still go on."""
        jobs = queries.jobs_info(self._db, self._jobs, sort=[("created_on", 1), ("db_id", 1)])
        members = queries.numbers_by_state(self._db, self._members)
        return jobs if _is_over(Counter(job.state for job in jobs), members) else None


def _is_over(counts: Mapping[JobState, int], members: Collection[JobState]) -> bool:
    """Return whether no job can go on: each is at rest, or waits although nothing in its flow moves.

    Parameters
    ----------
    counts
        The jobs by state.
    members
        The states of all jobs of their flows.
    """
    going = counts.keys() - set(AT_REST)
    return not going or (going == {JobState.WAITING} and not set(members) - {*AT_REST, JobState.WAITING})
