"""``jfr-mp job``: look at jobs, and have them stop, wait or run again."""

from __future__ import annotations

from typing import Annotated

import typer

from jfr_mp.cli.complaints import warn
from jfr_mp.cli.help_text import with_examples
from jfr_mp.cli.job_actions import pause, rerun, resume, retry, stop
from jfr_mp.cli.job_choice import IndexArgument, JobArgument, chosen_job
from jfr_mp.cli.job_explain import explain
from jfr_mp.cli.job_files import files_app, queue_out
from jfr_mp.cli.options import (
    DaysOption,
    DbIdsOption,
    FlowIdsOption,
    HoursOption,
    JobStatesOption,
    JsonOption,
    LockedOption,
    MaxResultsOption,
    NameOption,
    ProjectOption,
    ReverseOption,
    SortField,
    SortOption,
    StartDateOption,
    VerbosityOption,
    WorkersOption,
    job_id,
    since,
)
from jfr_mp.cli.output import print_details, print_json, print_sheet, suggest
from jfr_mp.cli.rows import details, job_sheet
from jfr_mp.cli.session import job_controller, load_project
from jfr_mp.states import JobState

app = typer.Typer(no_args_is_help=True, help="Look at jobs, and have them stop, wait or run again.")

JobIdsOption = Annotated[
    list[str] | None, typer.Option("--job-id", "-jid", metavar="UUID:INDEX", help="Only these jobs.")
]


@app.command("list")
@with_examples(
    {
        "jfr-mp job list": "the last 100 jobs",
        "jfr-mp job list -s FAILED -s REMOTE_ERROR -v": "those that went wrong, with more columns",
        "jfr-mp job list --name 'relax*' --hours 12": "by name, updated in the last 12 hours",
        "jfr-mp job list --flow-id 17 --json": "those of the flow of job 17, for a program",
    }
)
def list_jobs(  # noqa: PLR0913 (one parameter for each option)
    *,
    job_ids: JobIdsOption = None,
    db_ids: DbIdsOption = None,
    flow_ids: FlowIdsOption = None,
    states: JobStatesOption = None,
    workers: WorkersOption = None,
    name: NameOption = None,
    locked: LockedOption = False,
    start_date: StartDateOption = None,
    days: DaysOption = None,
    hours: HoursOption = None,
    max_results: MaxResultsOption = 100,
    sort: SortOption = SortField.UPDATED_ON,
    reverse: ReverseOption = False,
    verbosity: VerbosityOption = 0,
    as_json: JsonOption = False,
    project: ProjectOption = None,
) -> None:
    """List jobs, the last updated ones first."""
    beginning = since(start_date, days, hours)
    ids = [job_id(text) for text in job_ids or ()]
    with job_controller(load_project(project)) as controller:
        jobs = controller.get_jobs_info(
            job_ids=ids or None,
            db_ids=db_ids,
            flow_ids=flow_ids,
            states=states,
            workers=workers,
            name=name,
            locked=locked,
            start_date=beginning,
            limit=max_results,
            sort=[(sort.value, 1 if reverse else -1)],
        )
    if as_json:
        print_json([info.model_dump() for info in jobs])
        return
    print_sheet(job_sheet(jobs, verbosity))
    if max_results and len(jobs) == max_results:
        warn(f"there may be more jobs than these {max_results}; -m 0 shows all")
    if any(info.state in (JobState.FAILED, JobState.REMOTE_ERROR) for info in jobs):
        suggest("`jfr-mp job explain ID` tells what went wrong with a job, and what would move it.")


@app.command()
@with_examples(
    {
        "jfr-mp job info 12": "by db_id",
        "jfr-mp job info e1d66c4f-81db-4fff-bda2-2bf1d79d5961 2": "by uuid and index",
    }
)
def info(
    *,
    job: JobArgument,
    index: IndexArgument = None,
    show_none: Annotated[bool, typer.Option("--show-none", "-n", help="Show the fields without a value, too.")] = False,
    as_json: JsonOption = False,
    project: ProjectOption = None,
) -> None:
    """Show everything about one job: where it is, what went wrong, what its worker said."""
    with chosen_job(project, job, index) as (_, found):
        if as_json:
            print_json(found.model_dump())
        else:
            print_details(details(found.model_dump(), show_none=show_none))


app.command()(explain)
app.command()(queue_out)
app.add_typer(files_app, name="files")
app.command("retry")(retry)
app.command("rerun")(rerun)
app.command("stop")(stop)
app.command("cancel")(stop)
app.command("pause")(pause)
app.command("resume")(resume)
