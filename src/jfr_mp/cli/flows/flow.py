"""``jfr-mp flow``: inspect and control flows."""

from __future__ import annotations

from typing import Annotated

import typer

from jfr_mp.cli.columns import ColumnsOptions
from jfr_mp.cli.commands import Options, command, new_group, with_examples
from jfr_mp.cli.errors import warn
from jfr_mp.cli.filters import FlowFilterOptions
from jfr_mp.cli.flow_choice import FlowArguments, chosen_flow, flow_info
from jfr_mp.cli.flows.flow_actions import add_actions
from jfr_mp.cli.flows.flow_graph import graph
from jfr_mp.cli.options import CountOption, JsonOption, PageOptions, ProjectOption, SortField, VerbosityOption
from jfr_mp.cli.printing import print_count, print_details, print_json, print_sheet, print_text
from jfr_mp.cli.project_access import job_controller
from jfr_mp.cli.reports.report import flow_report as report_of_flows
from jfr_mp.cli.tables import details, flow_report, flow_sheet
from jfr_mp.cli.waiting import wait_for_flows

_IGNORED = "Accepted as in jobflow-remote, without effect on one flow."


def jobs_order(
    jobs_sort: Annotated[
        SortField | None, typer.Option("--jobs-sort", metavar="FIELD", help="Sort the jobs by this, newest first.")
    ] = None,
    reverse_jobs_sort: Annotated[
        bool, typer.Option("--reverse-jobs-sort", "-jrevs", help="Sort the jobs oldest first.")
    ] = False,
    # One ID is one flow, so that there is nothing to sort; jobflow-remote has these.
    sort: Annotated[SortField | None, typer.Option("--sort", hidden=True, help=_IGNORED)] = None,
    reverse_sort: Annotated[bool, typer.Option("--reverse-sort", "-revs", hidden=True, help=_IGNORED)] = False,
) -> list[tuple[str, int]] | None:
    """Return the order of the jobs of a flow; None for that of the flow."""
    return [jobs_sort.order(1 if reverse_jobs_sort else -1)] if jobs_sort else None


JobsOrderOptions = Annotated[list[tuple[str, int]] | None, Options(jobs_order)]

app = new_group("Inspect and control flows.")


@command(app, "list")
@with_examples(
    {
        "jfr-mp flow list": "the last 100 flows",
        "jfr-mp flow list -s RUNNING -v": "flows in progress, with the states of their jobs",
        "jfr-mp flow list --days 7 --json": "flows of the last week, for a program",
    }
)
def list_flows(
    *,
    flows: FlowFilterOptions,
    page: PageOptions,
    count: CountOption = False,
    verbosity: VerbosityOption = 0,
    as_json: JsonOption = False,
    project: ProjectOption,
) -> None:
    """List flows, the last updated first."""
    from jfr_mp.database import queries

    with job_controller(project) as controller:
        if count:
            print_count(queries.count_flows(controller.db, flows), "flows", as_json=as_json)
            return
        found = queries.flows_info(
            controller.db, flows, limit=page.limit, sort=[page.sort], with_jobs_info=as_json or verbosity > 0
        )
    if as_json:
        print_json([info.model_dump() for info in found])
        return
    print_sheet(flow_sheet(found, verbosity))
    if page.limit and len(found) == page.limit:
        warn(f"there may be more flows than these {page.limit}; -m 0 shows all")


@command(app)
@with_examples(
    {
        "jfr-mp flow info 12": "the flow of job 12",
        "jfr-mp flow info 12 --report": "its progress, and how long its jobs took",
    }
)
def info(
    *,
    flow: FlowArguments,
    columns: ColumnsOptions,
    order: JobsOrderOptions,
    report: Annotated[bool, typer.Option("--report", "-rep", help="Show a summary instead of the jobs.")] = False,
    as_json: JsonOption = False,
    project: ProjectOption,
) -> None:
    """Show a flow and its jobs."""
    with chosen_flow(project, flow) as (controller, uuid):
        found = flow_info(controller, uuid, order)
    if as_json:
        print_json(found.model_dump())
        return
    print_text(f"Flow {found.name} ({found.flow_id}) is {found.state.name}.", "bold")
    if columns.verbosity and found.flow_metadata:
        print_details(details({"metadata": found.flow_metadata}))
    if report:
        print_details(flow_report(found))
    else:
        print_sheet(columns.sheet(found.jobs_info or []))


command(app)(graph)
command(app, "wait")(wait_for_flows)
command(app, "report")(report_of_flows)
add_actions(app)
