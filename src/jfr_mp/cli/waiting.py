"""``jfr-mp job wait``, ``jfr-mp flow wait`` and ``submit --wait``: wait for jobs, and show their progress."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from jfr_mp.cli.commands import with_examples
from jfr_mp.cli.completion import complete_job
from jfr_mp.cli.flow_choice import FlowName, flow_info, flow_named
from jfr_mp.cli.job_choice import JobName, job_named
from jfr_mp.cli.options import JsonOption, ProjectOption, number
from jfr_mp.cli.printing import print_json
from jfr_mp.cli.project_access import job_controller
from jfr_mp.cli.tables import counts_text
from jfr_mp.errors import ExitCode
from jfr_mp.states import JobState

if TYPE_CHECKING:
    from jfr_mp.api.controller import JobController
    from jfr_mp.model import JobInfo

IdsArgument = Annotated[
    list[str], typer.Argument(metavar="ID...", help="The db_ids or the uuids of jobs.", autocompletion=complete_job)
]
TimeoutOption = Annotated[
    int | None, number("--timeout", text="The longest to wait; by default without limit.", unit="SECONDS")
]


@with_examples({"jfr-mp job wait 12 14": "until both have ended", "jfr-mp job wait 12 --timeout 600": "ten minutes"})
def wait_for_jobs(
    *, ids: IdsArgument, timeout: TimeoutOption = None, as_json: JsonOption = False, project: ProjectOption
) -> None:
    """Wait until jobs have ended, or cannot go on because they are paused or wait for a job that failed.

    Exit codes: 0 if all are COMPLETED, 1 if not, 9 if they did not end in time.
    """
    with job_controller(project) as controller:
        db_ids = [job_named(controller, JobName(each)).db_id for each in ids]
        jobs = wait(controller, db_ids, timeout, flows=False)
    _report(jobs, as_json=as_json)


@with_examples({"jfr-mp flow wait 12": "the flow of job 12"})
def wait_for_flows(
    *, ids: IdsArgument, timeout: TimeoutOption = None, as_json: JsonOption = False, project: ProjectOption
) -> None:
    """Wait until all jobs of flows have ended or cannot go on, those included that are created on the way.

    Exit codes: 0 if all are COMPLETED, 1 if not, 9 if they did not end in time.
    """
    with job_controller(project) as controller:
        flows = [flow_info(controller, flow_named(controller, FlowName(each))) for each in ids]
        jobs = wait(controller, [flow.db_ids[0] for flow in flows], timeout, flows=True)
    _report(jobs, as_json=as_json)


def wait(controller: JobController, db_ids: Sequence[str], timeout: int | None, *, flows: bool) -> list[JobInfo]:
    """Wait for jobs, show their progress on standard error, and return them.

    Raises
    ------
    WaitTimeout
        They did not end in time.
    """
    from jfr_mp.api.progress import shown_progress
    from jfr_mp.api.waiting import Wait, wait_command

    ids = list(dict.fromkeys(db_ids))
    wait = Wait(controller.db, ids, flows=flows)
    # What has become of the jobs is printed in place of it.
    with shown_progress(wait_command(ids, flows=flows), keep=False) as watch:
        return wait.until_done(timeout, watch)


def rows_of(jobs: Sequence[JobInfo]) -> list[dict[str, str | None]]:
    """Return what has become of jobs, for a program."""
    return [{"db_id": job.db_id, "state": job.state.name, "error": job.error} for job in jobs]


def print_ends(jobs: Sequence[JobInfo]) -> None:
    """Print what has become of jobs, for the user."""
    typer.echo(_counts(jobs))
    for job in jobs:
        if job.state is not JobState.COMPLETED:
            typer.echo(f"Job {job.db_id} ({job.name}): {job.state.name}; see `jfr-mp job explain {job.db_id}`")


def exit_unless_completed(jobs: Sequence[JobInfo]) -> None:
    """Exit with an error if a job is not COMPLETED.

    Raises
    ------
    typer.Exit
        Not all of them are.
    """
    if any(job.state is not JobState.COMPLETED for job in jobs):
        raise typer.Exit(ExitCode.ERROR)


def _report(jobs: Sequence[JobInfo], *, as_json: bool) -> None:
    if as_json:
        print_json(rows_of(jobs))
    else:
        print_ends(jobs)
    exit_unless_completed(jobs)


def _counts(jobs: Sequence[JobInfo]) -> str:
    return counts_text(Counter(job.state.name for job in jobs))
