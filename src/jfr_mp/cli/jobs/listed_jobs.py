"""Which jobs `jfr-mp job list` shows: filters, and shorthands for states and for the latest flows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from jfr_mp.cli.commands import Options
from jfr_mp.cli.filters import JobFilterOptions
from jfr_mp.cli.options import number
from jfr_mp.states import RUNNING_STATES, JobState

if TYPE_CHECKING:
    from jfr_mp.api.controller import JobController
    from jfr_mp.database.filters import JobFilter

_ERRORS = (JobState.REMOTE_ERROR, JobState.FAILED)


@dataclass(frozen=True)
class ListedJobs:
    """The jobs of a list.

    Parameters
    ----------
    jobs
        The conditions.
    latest_flows
        Only jobs of so many flows, the last created ones; None for all flows.
    """

    jobs: JobFilter
    latest_flows: int | None

    def filter(self, controller: JobController) -> JobFilter:
        """Return the conditions, with the latest flows looked up."""
        if self.latest_flows is None:
            return self.jobs
        from jfr_mp.database import queries
        from jfr_mp.database.filters import FlowFilter

        flows = queries.flows_info(controller.db, FlowFilter(), sort=[("created_on", -1)], limit=self.latest_flows)
        return replace(self.jobs, flow_ids=[flow.flow_id for flow in flows])


def listed_jobs(
    jobs: JobFilterOptions,
    error: Annotated[
        bool, typer.Option("--error", "-e", help="The same as -s FAILED -s REMOTE_ERROR; adds to other states.")
    ] = False,
    running: Annotated[
        bool, typer.Option("--running", "-run", help="All states from CHECKED_OUT to DOWNLOADED; adds to other states.")
    ] = False,
    latest_flow: Annotated[
        int | None, number("--latest-flow", "-lf", text="Only jobs of the last N flows that were created.", least=1)
    ] = None,
) -> ListedJobs:
    """Return the jobs that the options describe.

    Raises
    ------
    typer.BadParameter
        Both flows and the latest flows were given.
    """
    if latest_flow is not None and jobs.flow_ids is not None:
        raise typer.BadParameter("give only one of --latest-flow and --flow-id")
    states = [*(jobs.states or ()), *(_ERRORS if error else ()), *(RUNNING_STATES if running else ())]
    return ListedJobs(replace(jobs, states=states or None), latest_flow)


ListedJobsOptions = Annotated[ListedJobs, Options(listed_jobs)]
