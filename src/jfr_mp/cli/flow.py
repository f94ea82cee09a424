"""``jfr-mp flow``: look at flows."""

from __future__ import annotations

from typing import Annotated

import typer

from jfr_mp.cli.complaints import warn
from jfr_mp.cli.help_text import with_examples
from jfr_mp.cli.options import (
    DaysOption,
    DbIdsOption,
    FlowIdsOption,
    FlowStatesOption,
    HoursOption,
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
    since,
)
from jfr_mp.cli.output import print_json, print_sheet
from jfr_mp.cli.rows import flow_sheet
from jfr_mp.cli.session import job_controller, load_project

app = typer.Typer(no_args_is_help=True, help="Look at flows.")

JobUuidsOption = Annotated[
    list[str] | None, typer.Option("--job-id", "-jid", metavar="UUID", help="Only the flows of these jobs.")
]


@app.callback()
def _group() -> None:
    """Keep the group a group while it has one command."""


@app.command("list")
@with_examples(
    {
        "jfr-mp flow list": "the last 100 flows",
        "jfr-mp flow list -s RUNNING -v": "those in progress, with the states of their jobs",
        "jfr-mp flow list --days 7 --json": "those of the last week, for a program",
    }
)
def list_flows(  # noqa: PLR0913 (one parameter for each option)
    *,
    job_ids: JobUuidsOption = None,
    db_ids: DbIdsOption = None,
    flow_ids: FlowIdsOption = None,
    states: FlowStatesOption = None,
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
    """List flows, the last updated ones first."""
    beginning = since(start_date, days, hours)
    with job_controller(load_project(project)) as controller:
        flows = controller.get_flows_info(
            job_ids=job_ids,
            db_ids=db_ids,
            flow_ids=flow_ids,
            states=states,
            name=name,
            locked=locked,
            start_date=beginning,
            limit=max_results,
            sort=[(sort.value, 1 if reverse else -1)],
            with_jobs_info=as_json or verbosity > 0,
        )
    if as_json:
        print_json([info.model_dump() for info in flows])
        return
    print_sheet(flow_sheet(flows, verbosity))
    if max_results and len(flows) == max_results:
        warn(f"there may be more flows than these {max_results}; -m 0 shows all")
