"""``jfr-mp job``: inspect and control jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from jfr_mp.cli.columns import ColumnsOptions, columns_of_settings
from jfr_mp.cli.commands import command, new_group, with_examples
from jfr_mp.cli.errors import warn
from jfr_mp.cli.job_choice import JobArguments, JobOrPidArguments, chosen_job
from jfr_mp.cli.jobs.job_actions import add_actions
from jfr_mp.cli.jobs.job_deletion import add_deletion
from jfr_mp.cli.jobs.job_edits import add_edits
from jfr_mp.cli.jobs.job_files import add_files
from jfr_mp.cli.jobs.job_results import add_results
from jfr_mp.cli.jobs.listed_jobs import ListedJobsOptions
from jfr_mp.cli.options import CountOption, JsonOption, PageOptions, ProjectOption
from jfr_mp.cli.printing import doing, print_count, print_details, print_json, print_sheet, print_text, suggest
from jfr_mp.cli.project_access import job_controller
from jfr_mp.cli.reports.report import job_report
from jfr_mp.cli.tables import details
from jfr_mp.cli.waiting import wait_for_jobs
from jfr_mp.states import JobState

if TYPE_CHECKING:
    from jfr_mp.diagnosis import Explanation

app = new_group("Inspect and control jobs.")


@command(app, "list")
@with_examples(
    {
        "jfr-mp job list": "the last 100 jobs",
        "jfr-mp job list -s FAILED -s REMOTE_ERROR -v": "jobs that failed",
        "jfr-mp job list --name 'relax*' --hours 12": "by name and time",
        "jfr-mp job list --flow-id 17 --json": "the flow of job 17, for a program",
    }
)
def list_jobs(
    *,
    jobs: ListedJobsOptions,
    page: PageOptions,
    columns: ColumnsOptions,
    count: CountOption = False,
    as_json: JsonOption = False,
    project: ProjectOption,
) -> None:
    """List jobs, the last updated first."""
    from jfr_mp.database import queries

    # As in jobflow-remote, -v overrides the settings, and the option overrides both.
    if columns.names is None and not columns.verbosity:
        columns = columns._replace(names=columns_of_settings())
    with job_controller(project) as controller:
        wanted = jobs.filter(controller)
        if count:
            print_count(queries.count_jobs(controller.db, wanted), "jobs", as_json=as_json)
            return
        found = queries.jobs_info(controller.db, wanted, limit=page.limit, sort=[page.sort])
    if as_json:
        print_json([info.model_dump() for info in found])
        return
    print_sheet(columns.sheet(found))
    if page.limit and len(found) == page.limit:
        warn(f"there may be more jobs than these {page.limit}; -m 0 shows all")
    if any(info.state in (JobState.FAILED, JobState.REMOTE_ERROR) for info in found):
        suggest("`jfr-mp job explain ID` explains what went wrong with a job, and what would move it.")


@command(app)
@with_examples(
    {
        "jfr-mp job info 12": "by db_id",
        "jfr-mp job info e1d66c4f-81db-4fff-bda2-2bf1d79d5961 2": "by uuid and index",
        "jfr-mp job info --pid 4711": "by the id that the scheduler has given",
    }
)
def info(
    *,
    job: JobOrPidArguments,
    show_none: Annotated[bool, typer.Option("--show-none", "-n", help="Also show the fields without a value.")] = False,
    verbosity: Annotated[
        int, typer.Option("--verbosity", "-v", count=True, help="Also show the inputs and settings of the job.")
    ] = 0,
    as_json: JsonOption = False,
    project: ProjectOption,
) -> None:
    """Show everything about one job: its state, its errors, what its worker reported."""
    from jfr_mp.database import queries

    with chosen_job(project, job) as (controller, found):
        shown = queries.job_doc(controller.db, db_id=found.db_id) if verbosity else found
    fields = (shown or found).model_dump()
    if as_json:
        print_json(fields)
    else:
        print_details(details(fields, show_none=show_none))


@command(app)
@with_examples(
    {
        "jfr-mp job explain 12": "by db_id",
        "jfr-mp job explain 12 --json": "for a program, with all facts",
    }
)
def explain(*, job: JobArguments, as_json: JsonOption = False, project: ProjectOption) -> None:
    """Explain why a job is in its state, and what would move it.

    For a job that waits for others, the first cause is named: the failed, stopped or paused job at the beginning of the
    chain.
    """
    from jfr_mp.diagnosis import explain_job

    with chosen_job(project, job) as (controller, found), doing("asking"):
        explanation = explain_job(controller, db_id=found.db_id)
    if as_json:
        print_json(explanation.as_dict())
    else:
        _print_explanation(explanation)


def _print_explanation(explanation: Explanation) -> None:
    job = explanation.job
    print_text(f"Job {job.db_id} ({job.name}) on worker {job.worker} is {job.state.name}.")
    for reason in explanation.reasons:
        print_text(f"- {reason.why}")
        print_text(f"  -> {reason.cure}", "cyan")


command(app, "wait")(wait_for_jobs)
command(app, "report")(job_report)
files = add_files(app)
add_actions(app)
add_edits(app)
add_deletion(app, files)
add_results(app)
